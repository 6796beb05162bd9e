"""The broker and the services of one machine under supervisord."""
