variable "environment" {
  type        = string
  description = "Name of the deployment. It is part of every resource's name. The local cloud is named `local`."
  default     = "production"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "The environment must have 1 to 20 lower-case letters, digits or hyphens, the first a letter."
  }
}

variable "artifacts" {
  type        = string
  description = "Folder with the zips, the model artifact and their manifest.json. `make package` builds it."

  validation {
    condition     = fileexists("${var.artifacts}/manifest.json")
    error_message = "There is no manifest.json in the artifacts folder. Run `make package` first."
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
  description = "URL of the API for clients, and issuer of its tokens. The default is the endpoint of the HTTP API."
  default     = null

  validation {
    condition     = var.public_url == null || can(regex("^https?://[^/]+(/.*[^/])?$", var.public_url))
    error_message = "The public URL must begin with http:// or https:// and not end with a slash."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of every resource, in addition to `project` and `environment`."
  default     = {}
}

variable "worker_memory_mb" {
  type        = number
  description = "Memory of the worker in MB. 1,769 MB correspond to one vCPU."
  default     = 1769

  validation {
    condition     = var.worker_memory_mb >= 512 && var.worker_memory_mb <= 10240
    error_message = "worker_memory_mb must be 512 to 10,240."
  }
}

variable "worker_concurrency" {
  type        = object({ jobs = number, isolated = number })
  description = "Highest number of concurrent environments for each of the queues `jobs` and `isolated`."
  default     = { jobs = 50, isolated = 50 }

  validation {
    condition     = alltrue([for most in values(var.worker_concurrency) : most >= 2 && most <= 1000])
    error_message = "Each queue's concurrency must be 2 to 1,000."
  }
}

variable "published_keys" {
  type        = set(string)
  description = "Names of the signing keys whose public keys are published. To rotate: add a name, apply, switch `signing_key`, apply, and remove the old name after an hour (the lifetime of a token)."
  default     = ["k1"]

  validation {
    condition     = length(var.published_keys) >= 1 && alltrue([for name in var.published_keys : can(regex("^[A-Za-z0-9_-]{1,32}$", name))])
    error_message = "published_keys needs at least one name of 1 to 32 letters, digits, hyphens or underscores."
  }
}

variable "signing_key" {
  type        = string
  description = "Name of the published key that signs new tokens."
  default     = "k1"

  validation {
    condition     = contains(var.published_keys, var.signing_key)
    error_message = "The signing key must be one of the published keys."
  }
}

variable "throttle" {
  type        = object({ rate = number, burst = number })
  description = "Requests per second (`rate`) and concurrent requests (`burst`) of each route, over all clients."
  default     = { rate = 200, burst = 400 }

  validation {
    condition     = var.throttle.rate >= 1 && var.throttle.burst >= 1
    error_message = "Rate and burst must be at least 1. With 0, API Gateway refuses every request."
  }
}

variable "limits" {
  type = object({
    requests_per_minute = optional(number, 600)
    open_jobs           = optional(number, 10000)
    bytes_per_day       = optional(number, 1000000000)
  })
  description = "Default limits of a client: requests per minute, open jobs, and bytes of text per day (UTC). A client's own record overrides them."
  default     = {}

  validation {
    condition     = alltrue([for most in values(var.limits) : most >= 1 && floor(most) == most]) && var.limits.open_jobs <= 100000
    error_message = "Each limit must be a whole number of at least 1. `open_jobs` must be at most 100,000, because they are counted one by one."
  }
}

variable "token_throttle" {
  type        = object({ rate = number, burst = number })
  description = "Requests per second (`rate`) and concurrent requests (`burst`) of `POST /oauth/token`. They are lower, because each token costs a KMS signature."
  default     = { rate = 20, burst = 40 }

  validation {
    condition     = var.token_throttle.rate >= 1 && var.token_throttle.burst >= 1
    error_message = "Rate and burst must be at least 1. With 0, API Gateway refuses every request."
  }
}

variable "log_retention_days" {
  type        = number
  description = "Days for which CloudWatch Logs keeps the logs."
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of the values that CloudWatch Logs allows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "alarm_topic_arns" {
  type        = list(string)
  description = "ARNs of the SNS topics that receive the alarms."
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : startswith(arn, "arn:")])
    error_message = "Each element of alarm_topic_arns must be an ARN."
  }
}

variable "webhook_concurrency" {
  type        = number
  description = "Highest number of concurrent delivery attempts."
  default     = 50

  validation {
    condition     = var.webhook_concurrency >= 2 && var.webhook_concurrency <= 1000
    error_message = "webhook_concurrency must be 2 to 1,000."
  }
}

variable "allow_loopback_webhooks" {
  type        = bool
  description = "Allows webhooks to loopback addresses, with http and any port. Only the local cloud may set it."
  default     = false

  validation {
    condition     = !var.allow_loopback_webhooks || var.environment == "local"
    error_message = "Only the environment `local` may set allow_loopback_webhooks."
  }
}

variable "webhook_delays_seconds" {
  type        = list(number)
  description = "Seconds before each of the eight attempts of a delivery. The first is 0. Only the local cloud may use shorter delays."
  default     = [0, 5, 300, 1800, 7200, 18000, 36000, 36000]

  validation {
    condition     = length(var.webhook_delays_seconds) == 8 && try(var.webhook_delays_seconds[0] == 0, false) && alltrue([for delay in var.webhook_delays_seconds : delay >= 0])
    error_message = "webhook_delays_seconds needs eight numbers of at least 0. The first must be 0."
  }

  validation {
    condition     = sum(concat([0], var.webhook_delays_seconds)) <= 100800
    error_message = "The sum of webhook_delays_seconds must be at most 100,800 (28 hours), because the delivery expires after that."
  }

  validation {
    condition = var.environment == "local" || alltrue([
      for attempt, least in [0, 5, 300, 1800, 7200, 18000, 36000, 36000] : try(var.webhook_delays_seconds[attempt] >= least, false)
    ])
    error_message = "Only the environment `local` may use shorter delays than 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h."
  }
}

variable "emulator_actions" {
  type        = map(list(string))
  description = "Actions that an emulator demands in addition to the ones that AWS demands, by the latter's names. Only the local cloud sets it."
  default     = {}

  validation {
    condition     = length(var.emulator_actions) == 0 || var.environment == "local"
    error_message = "Only the environment `local` may set emulator_actions."
  }
}
