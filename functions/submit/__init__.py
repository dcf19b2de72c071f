"""The function `submit`: the HTTP API. It stores and queues jobs and answers questions about them."""
