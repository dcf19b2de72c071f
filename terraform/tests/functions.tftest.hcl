# Functions as they come out of an apply, when all they are told is known.

mock_provider "aws" {
  source = "./tests/answers"
}

variables {
  artifacts = "./tests/fixtures"
}

run "settings" {
  assert {
    condition = alltrue([
      for name in ["submit", "worker", "janitor"] :
      output.settings[name].JOBS_QUEUE_URL == output.queue_urls.jobs && output.settings[name].ISOLATED_QUEUE_URL == output.queue_urls.isolated
      && output.settings[name].BUCKET == output.bucket && output.settings[name].JOBS_TABLE == output.jobs_table
    ])
    error_message = "Each function must get the queues, the bucket and the table."
  }

  assert {
    condition = [
      output.settings.janitor.JOBS_DEAD_LETTER_QUEUE_URL, output.settings.janitor.ISOLATED_DEAD_LETTER_QUEUE_URL
    ] == [output.dead_letter_queue_urls.jobs, output.dead_letter_queue_urls.isolated]
    error_message = "The janitor must get each dead-letter queue."
  }

  assert {
    condition = [
      output.settings.auth.CLIENTS_TABLE, output.settings.auth.JOBS_TABLE, output.settings.auth.WORKER_ALIAS_ARN,
      output.settings.auth.WORKER_VERSION, output.settings.auth.SIGNING_KEY_ARN, output.settings.auth.SIGNING_KEY_ID,
    ] == [output.clients_table, output.jobs_table, output.worker_alias_arn, "7", output.signing_key_arns.k1, "k1"]
    error_message = "Auth must be told the tables, the worker's alias and version, and the signing key."
  }

  assert {
    condition     = alltrue([for name in ["auth", "submit"] : jsondecode(output.settings[name].PUBLIC_KEYS) == { k1 = "AAAA" }])
    error_message = "Every published key must be known by its name, as it comes from KMS."
  }
}
