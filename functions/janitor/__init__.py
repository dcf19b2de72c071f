"""The function `janitor`: once a minute, it does the scheduled checks of jobs and deliveries."""
