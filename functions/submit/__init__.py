"""Function `submit`: the API; stores and queues jobs, answers for them."""
