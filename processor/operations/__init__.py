"""The operations: one module each, named by its OperationSpec."""
