"""The operations: one module each, found by the path in their OperationSpec."""
