variable "environment" {
  type        = string
  description = "Name of the deployment, part of every resource's name; `local` is the local cloud."
  default     = "production"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "The environment must have 1 to 20 lower-case letters, digits or hyphens, the first a letter."
  }
}

variable "artifacts" {
  type        = string
  description = "Folder with the zips, the model artifact and their manifest.json, as `make package` builds it."

  validation {
    condition     = fileexists("${var.artifacts}/manifest.json")
    error_message = "There is no manifest.json in the artifacts folder: run `make package` first."
  }
}

variable "runtime" {
  type        = string
  description = "Lambda runtime that the layers were built for."
  default     = "python3.13"

  validation {
    condition     = can(regex("^python3\\.1[1-9]$", var.runtime))
    error_message = "The runtime must be python3.11 or later."
  }
}

variable "architecture" {
  type        = string
  description = "Instruction set that the layers were built for."
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture must be x86_64 or arm64."
  }
}

variable "public_url" {
  type        = string
  description = "URL by which clients reach the API, which is also the issuer of its tokens; by default the API's own endpoint."
  default     = null

  validation {
    condition     = var.public_url == null || can(regex("^https?://[^/]+(/.*[^/])?$", var.public_url))
    error_message = "The public URL must begin with http:// or https:// and not end with a slash."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags for every resource, besides `project` and `environment`."
  default     = {}
}

variable "worker_memory_mb" {
  type        = number
  description = "Memory of the worker; 1,769 MB come with one vCPU."
  default     = 1769

  validation {
    condition     = var.worker_memory_mb >= 512 && var.worker_memory_mb <= 10240
    error_message = "The worker needs 512 to 10,240 MB."
  }
}

variable "worker_concurrency" {
  type        = object({ jobs = number, solo = number })
  description = "The most environments that each lane may use at a time."
  default     = { jobs = 50, solo = 50 }

  validation {
    condition     = alltrue([for most in values(var.worker_concurrency) : most >= 2 && most <= 1000])
    error_message = "A lane may use 2 to 1,000 environments."
  }
}

variable "published_keys" {
  type        = set(string)
  description = "Names of the signing keys whose public halves are published. To rotate: publish the next, apply, switch `signing_key`, apply, retire the old one after an hour (a token's lifetime)."
  default     = ["k1"]

  validation {
    condition     = length(var.published_keys) >= 1 && alltrue([for name in var.published_keys : can(regex("^[A-Za-z0-9_-]{1,32}$", name))])
    error_message = "At least one key is needed, named by 1 to 32 letters, digits, hyphens or underscores."
  }
}

variable "signing_key" {
  type        = string
  description = "Name of the published key that signs."
  default     = "k1"

  validation {
    condition     = contains(var.published_keys, var.signing_key)
    error_message = "The signing key must be one of the published keys."
  }
}

variable "warming" {
  type = object({
    on_token = optional(object({
      environments     = optional(number, 1)
      cooldown_seconds = optional(number, 120)
    }), {})
    after_deploy = optional(number, 1)
    schedule = optional(map(object({
      expression   = string
      timezone     = optional(string, "UTC")
      environments = optional(number, 1)
    })), {})
    provisioned = optional(object({
      environments = number
      windows = optional(map(object({
        start    = string
        end      = string
        timezone = optional(string, "UTC")
      })), {})
    }))
    snapstart = optional(bool, false)
    fleet = optional(object({
      min                  = optional(number, 1)
      max                  = number
      instance_type        = optional(string)
      subnet_ids           = list(string)
      security_group_ids   = list(string)
      backlog_per_instance = optional(number, 100)
    }))
  })
  description = <<-EOT
    How the worker is kept warm; any of these, alone or together (docs/warming.md helps to choose).
    `on_token`: issuing a token warms so many environments, at most once per cooldown; 0 turns it off.
    `after_deploy`: so many are warmed when a new version is there; 0 turns it off.
    `schedule`: named schedules (cron, rate or at) on which so many are warmed.
    `provisioned`: provisioned concurrency, always or within named windows (cron expressions).
    `snapstart`: environments begin from a snapshot with the model loaded; not with provisioned concurrency.
    `fleet`: EC2 instances that poll the lanes beside Lambda, `min` to `max` of them, one more for each
    `backlog_per_instance` messages that wait; by default the smallest compute-optimised ones of the architecture; their subnets need a way to S3, SQS, DynamoDB, KMS and the package index.
  EOT
  default     = {}

  validation {
    condition     = var.warming.on_token.environments >= 0 && var.warming.on_token.environments <= 100
    error_message = "A token warms 0 to 100 environments."
  }

  validation {
    condition     = var.warming.on_token.cooldown_seconds >= 10 && var.warming.on_token.cooldown_seconds <= 3600
    error_message = "The cooldown must be 10 to 3,600 seconds."
  }

  validation {
    condition     = var.warming.after_deploy >= 0 && var.warming.after_deploy <= 100
    error_message = "A deploy warms 0 to 100 environments."
  }

  validation {
    condition = alltrue([
      for name, schedule in var.warming.schedule :
      can(regex("^[a-z0-9-]{1,20}$", name)) && can(regex("^(cron|rate|at)\\(.+\\)$", schedule.expression))
      && can(regex("^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$", schedule.timezone))
      && schedule.environments >= 1 && schedule.environments <= 100
    ])
    error_message = "A schedule has a name of lower-case letters, digits and hyphens, an expression such as rate(4 minutes), a time zone such as Europe/London, and 1 to 100 environments."
  }

  validation {
    condition     = try(var.warming.provisioned.environments, 1) >= 1 && try(var.warming.provisioned.environments, 1) <= 1000
    error_message = "Provisioned concurrency is 1 to 1,000 environments."
  }

  validation {
    condition = alltrue([
      for name, window in try(var.warming.provisioned.windows, {}) :
      can(regex("^[a-z0-9-]{1,20}$", name)) && can(regex("^cron\\(.+\\)$", window.start)) && can(regex("^cron\\(.+\\)$", window.end))
      && can(regex("^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$", window.timezone)) && window.start != window.end
    ])
    error_message = "A window has a name of lower-case letters, digits and hyphens, different cron expressions for its start and its end, and a time zone such as Europe/London."
  }

  validation {
    condition = var.warming.fleet == null || (
      try(var.warming.fleet.min, 0) >= 0 && try(var.warming.fleet.max, 1) >= 1 && try(var.warming.fleet.max >= var.warming.fleet.min, true)
      && try(var.warming.fleet.max, 1) <= 100 && try(var.warming.fleet.backlog_per_instance, 1) >= 1
      && try(length(var.warming.fleet.subnet_ids) > 0 && length(var.warming.fleet.security_group_ids) > 0, true)
    )
    error_message = "A fleet has 0 to 100 instances, `max` at least 1 and not below `min`, a backlog of at least 1, and at least one subnet and one security group."
  }

  validation {
    condition     = !(var.warming.snapstart && var.warming.provisioned != null)
    error_message = "SnapStart and provisioned concurrency exclude each other: Lambda refuses both on one version."
  }

  validation {
    condition     = !var.warming.snapstart || !contains(["python3.11"], var.runtime)
    error_message = "SnapStart needs python3.12 or later."
  }
}

variable "throttle" {
  type        = object({ rate = number, burst = number })
  description = "Requests per second and at once that each route of the API takes, over all clients."
  default     = { rate = 200, burst = 400 }

  validation {
    condition     = var.throttle.rate >= 1 && var.throttle.burst >= 1
    error_message = "Rate and burst must be at least 1: 0 would refuse everything."
  }
}

variable "limits" {
  type = object({
    requests_per_minute = optional(number, 600)
    open_jobs           = optional(number, 10000)
    bytes_per_day       = optional(number, 1000000000)
  })
  description = "What a client may use unless its own record says otherwise: requests a minute, jobs that have not ended, bytes of text a day (UTC)."
  default     = {}

  validation {
    condition     = alltrue([for most in values(var.limits) : most >= 1 && floor(most) == most]) && var.limits.open_jobs <= 100000
    error_message = "Each limit must be a whole number of at least 1, that of open jobs at most 100,000: they are counted one by one."
  }
}

variable "token_throttle" {
  type        = object({ rate = number, burst = number })
  description = "Requests per second and at once that `POST /oauth/token` takes: lower, because each costs a KMS signature."
  default     = { rate = 20, burst = 40 }

  validation {
    condition     = var.token_throttle.rate >= 1 && var.token_throttle.burst >= 1
    error_message = "Rate and burst must be at least 1: 0 would refuse everything."
  }
}

variable "log_retention_days" {
  type        = number
  description = "Days that logs are kept."
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 or more days of its list."
  }
}

variable "alarm_topic_arns" {
  type        = list(string)
  description = "SNS topics that alarms are sent to."
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : startswith(arn, "arn:")])
    error_message = "A topic is named by its ARN."
  }
}

variable "webhook_concurrency" {
  type        = number
  description = "The most deliveries that are attempted at a time."
  default     = 50

  validation {
    condition     = var.webhook_concurrency >= 2 && var.webhook_concurrency <= 1000
    error_message = "Deliveries may use 2 to 1,000 environments."
  }
}

variable "allow_loopback_webhooks" {
  type        = bool
  description = "Whether webhooks may call loopback addresses, by http and on any port: for the local cloud alone."
  default     = false

  validation {
    condition     = !var.allow_loopback_webhooks || var.environment == "local"
    error_message = "Only the local cloud's webhooks may call loopback addresses."
  }
}

variable "webhook_delays_seconds" {
  type        = list(number)
  description = "Seconds from one attempt of a delivery to the next, the first at once; shorter ones are for tests on the local cloud."
  default     = [0, 5, 300, 1800, 7200, 18000, 36000, 36000]

  validation {
    condition     = length(var.webhook_delays_seconds) == 8 && try(var.webhook_delays_seconds[0] == 0, false) && alltrue([for delay in var.webhook_delays_seconds : delay >= 0])
    error_message = "A delivery has eight attempts, the first at once."
  }

  validation {
    condition     = sum(concat([0], var.webhook_delays_seconds)) <= 100800
    error_message = "All attempts must be over within 28 hours, before the delivery expires."
  }

  validation {
    condition = var.environment == "local" || alltrue([
      for attempt, least in [0, 5, 300, 1800, 7200, 18000, 36000, 36000] : try(var.webhook_delays_seconds[attempt] >= least, false)
    ])
    error_message = "Only the local cloud may attempt deliveries sooner than 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h after each other."
  }
}
