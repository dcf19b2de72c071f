# What is refused before anything is made. Each run breaks many variables, each in one way, so that every bound and
# every alternative is seen to hold: a variable that is expected to fail and does not fails the run.

mock_provider "aws" {
  source          = "./tests/answers"
  override_during = plan
}

variables {
  artifacts = "./tests/fixtures"
}

run "widest_values_are_taken" {
  command = plan

  variables {
    environment        = "a-name-of-20-letters"
    public_url         = "https://api.example/v1"
    worker_memory_mb   = 10240
    worker_concurrency = { jobs = 2, isolated = 1000 }
    published_keys     = ["k1", "A_name-of-thirty-two-characters0"]
    warming = {
      on_token     = { environments = 0, cooldown_seconds = 3600 }
      after_deploy = 100
      schedule     = { a-name-of-20-letters = { expression = "at(2026-11-24T12:00:00)", timezone = "America/Argentina/Buenos_Aires", environments = 100 } }
      provisioned  = { environments = 1000, windows = { w = { start = "cron(0 8 * * ? *)", end = "cron(0 18 * * ? *)" } } }
    }
    throttle           = { rate = 1, burst = 1 }
    token_throttle     = { rate = 1, burst = 1 }
    limits             = { requests_per_minute = 1, open_jobs = 1, bytes_per_day = 1 }
    log_retention_days = 3653
    alarm_topic_arns   = ["arn:aws:sns:eu-west-2:123456789012:alarms"]
  }

  assert {
    condition     = output.settings.auth.PUBLIC_URL == "https://api.example/v1" && output.settings.submit.PUBLIC_URL == "https://api.example/v1"
    error_message = "The public URL must be the one given."
  }

  assert {
    condition     = output.settings.auth.WARM_UP_ENVIRONMENTS == "0" && output.settings.auth.WARM_UP_COOLDOWN_SECONDS == "3600"
    error_message = "Warming must be as given."
  }
}

run "too_little" {
  command = plan

  variables {
    environment        = ""
    public_url         = ""
    architecture       = ""
    worker_memory_mb   = 511
    worker_concurrency = { jobs = 1, isolated = 50 }
    published_keys     = []
    warming            = { on_token = { environments = -1 } }
    throttle           = { rate = 0, burst = 1 }
    token_throttle     = { rate = 0, burst = 1 }
    limits             = { open_jobs = 0 }
    log_retention_days = 0
    alarm_topic_arns   = [""]
  }

  expect_failures = [
    var.environment, var.public_url, var.architecture, var.worker_memory_mb, var.worker_concurrency,
    var.published_keys, var.warming, var.throttle, var.token_throttle, var.limits, var.log_retention_days, var.alarm_topic_arns,
  ]
}

run "too_much" {
  command = plan

  variables {
    environment        = "a-name-of-21-letters1"
    public_url         = "https://api.example/"
    architecture       = "x86_64,arm64"
    worker_memory_mb   = 10241
    worker_concurrency = { jobs = 1001, isolated = 50 }
    published_keys     = ["k1", "A_name-of-thirty-three-characters"]
    warming            = { on_token = { environments = 101 } }
    throttle           = { rate = 1, burst = 0 }
    token_throttle     = { rate = 1, burst = 0 }
    limits             = { requests_per_minute = 1.5 }
    log_retention_days = 4000
    alarm_topic_arns   = ["arn:aws:sns:eu-west-2:123456789012:alarms", "mail@example.com"]
  }

  expect_failures = [
    var.environment, var.public_url, var.architecture, var.worker_memory_mb, var.worker_concurrency,
    var.published_keys, var.warming, var.throttle, var.token_throttle, var.limits, var.log_retention_days, var.alarm_topic_arns,
  ]
}

run "malformed" {
  command = plan

  variables {
    environment        = "Production"
    public_url         = "api.example"
    worker_concurrency = { jobs = 50, isolated = 1 }
    published_keys     = ["k1", "k/2"]
    warming            = { on_token = { cooldown_seconds = 9 } }
    log_retention_days = 2
  }

  expect_failures = [
    var.environment, var.public_url, var.worker_concurrency, var.published_keys, var.warming,
    var.log_retention_days,
  ]
}

run "malformed_in_other_ways" {
  command = plan

  variables {
    environment        = "1st"
    public_url         = "ftp://api.example"
    worker_concurrency = { jobs = 50, isolated = 1001 }
    warming            = { on_token = { cooldown_seconds = 3601 } }
    signing_key        = "k2"
  }

  expect_failures = [var.environment, var.public_url, var.worker_concurrency, var.warming, var.signing_key]
}

run "missing_artifacts" {
  command = plan

  variables {
    artifacts = "./tests/none"
  }

  expect_failures = [var.artifacts]
}

run "artifacts_for_another_runtime" {
  command = plan

  variables {
    runtime = "python3.12"
  }

  expect_failures = [aws_lambda_layer_version.main]
}

run "artifacts_for_another_architecture" {
  command = plan

  variables {
    architecture = "arm64"
  }

  expect_failures = [aws_lambda_layer_version.main]
}

run "after_deploy_of_too_many" {
  command = plan

  variables {
    warming = { after_deploy = 101 }
  }

  expect_failures = [var.warming]
}

run "schedule_without_an_expression" {
  command = plan

  variables {
    warming = { schedule = { a = { expression = "every day" } } }
  }

  expect_failures = [var.warming]
}

run "schedule_of_none" {
  command = plan

  variables {
    warming = { schedule = { a = { expression = "rate(4 minutes)", environments = 0 } } }
  }

  expect_failures = [var.warming]
}

run "schedule_in_no_time_zone" {
  command = plan

  variables {
    warming = { schedule = { a = { expression = "rate(4 minutes)", timezone = "UTC+1:00" } } }
  }

  expect_failures = [var.warming]
}

run "schedule_with_a_bad_name" {
  command = plan

  variables {
    warming = { schedule = { A_b = { expression = "rate(4 minutes)" } } }
  }

  expect_failures = [var.warming]
}

run "provisioned_for_none" {
  command = plan

  variables {
    warming = { provisioned = { environments = 0 } }
  }

  expect_failures = [var.warming]
}

run "window_of_a_rate" {
  command = plan

  variables {
    warming = { provisioned = { environments = 1, windows = { a = { start = "rate(1 hour)", end = "cron(0 18 * * ? *)" } } } }
  }

  expect_failures = [var.warming]
}

run "window_without_an_end" {
  command = plan

  variables {
    warming = { provisioned = { environments = 1, windows = { a = { start = "cron(0 8 * * ? *)", end = "cron(0 8 * * ? *)" } } } }
  }

  expect_failures = [var.warming]
}

run "snapstart_with_provisioned_concurrency" {
  command = plan

  variables {
    warming = { snapstart = true, provisioned = { environments = 1 } }
  }

  expect_failures = [var.warming]
}

run "snapstart_of_a_model_that_does_not_fit" {
  command = plan

  variables {
    artifacts = "./tests/fixtures/big"
    warming   = { snapstart = true }
  }

  expect_failures = [aws_s3_object.model]
}

run "runtime_too_old" {
  command = plan

  variables {
    runtime = "python3.10"
  }

  expect_failures = [var.runtime]
}

run "runtime_of_three_digits" {
  command = plan

  variables {
    runtime = "python3.130"
  }

  expect_failures = [var.runtime]
}

run "runtime_of_another_name" {
  command = plan

  variables {
    runtime = "xpython3.13"
  }

  expect_failures = [var.runtime]
}

run "snapstart_of_an_old_runtime" {
  command = plan

  variables {
    runtime = "python3.11"
    warming = { snapstart = true }
  }

  expect_failures = [var.warming, aws_lambda_layer_version.main]
}

run "fleet_of_none" {
  command = plan

  variables {
    warming = { fleet = { max = 0, subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
  }

  expect_failures = [var.warming]
}

run "fleet_with_more_at_least_than_at_most" {
  command = plan

  variables {
    warming = { fleet = { min = 3, max = 2, subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"] } }
  }

  expect_failures = [var.warming]
}

run "fleet_without_a_subnet" {
  command = plan

  variables {
    warming = { fleet = { max = 2, subnet_ids = [], security_group_ids = ["sg-1"] } }
  }

  expect_failures = [var.warming]
}
