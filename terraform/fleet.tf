# The EC2 fleet: machines that poll the queues `jobs` and `isolated` with the worker's code, beside Lambda. It exists only
# if `warming.fleet` is set.

locals {
  fleet      = var.warming.fleet == null ? {} : { main = var.warming.fleet }
  fleet_name = "${local.prefix}-fleet"

  fleet_instance_type = try(coalesce(var.warming.fleet.instance_type, { arm64 = "c7g.large", x86_64 = "c7i.large" }[var.architecture]), "")
  fleet_is_arm64      = can(regex("^(a1|[a-z]+[0-9]+g[a-z-]*)\\.", local.fleet_instance_type)) # Graviton: c7g, c7gn, im4gn

  # The same objects that the function `worker` has at /opt/python and /var/task.
  fleet_code = { layer = "layer-worker", function = "worker" }
}

resource "aws_iam_role" "fleet" {
  for_each = local.fleet

  name = local.fleet_name

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "fleet" {
  for_each = local.fleet

  name = "worker"
  role = aws_iam_role.fleet[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.worker_statements, [{
      Sid      = "InstallCode"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${aws_s3_bucket.main.arn}/artifacts/*"]
    }])
  })
}

resource "aws_iam_instance_profile" "fleet" {
  for_each = local.fleet

  name = local.fleet_name
  role = aws_iam_role.fleet[each.key].name
}

resource "aws_launch_template" "fleet" {
  for_each = local.fleet

  name                   = local.fleet_name
  update_default_version = true
  instance_type          = local.fleet_instance_type
  image_id               = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture}"
  vpc_security_group_ids = each.value.security_group_ids

  iam_instance_profile {
    arn = aws_iam_instance_profile.fleet[each.key].arn
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    # Room for the system, one copy of the model, and a merge on each core.
    ebs {
      encrypted   = true
      volume_type = "gp3"
      volume_size = 16 + ceil(local.worker_storage_mb / 1024)
    }
  }

  user_data = base64encode(templatefile("${path.module}/fleet.sh.tftpl", {
    bucket   = aws_s3_bucket.main.id
    region   = data.aws_region.current.name
    python   = var.runtime
    code     = { for folder, name in local.fleet_code : folder => aws_s3_object.artifact[name].key }
    settings = merge(local.powertools, local.worker_settings, { OMP_NUM_THREADS = "1", POWERTOOLS_SERVICE_NAME = "worker" })
  }))

  lifecycle {
    precondition {
      condition     = local.fleet_is_arm64 == (var.architecture == "arm64")
      error_message = "${local.fleet_instance_type} cannot run code that was built for ${var.architecture}. Choose another instance_type, or run `make package` with the other ARCHITECTURE."
    }
  }
}

resource "aws_autoscaling_group" "fleet" {
  for_each = local.fleet

  name                = local.fleet_name
  min_size            = each.value.min
  max_size            = each.value.max
  vpc_zone_identifier = each.value.subnet_ids

  # The scaling policy divides by this metric. AWS publishes it only if it is enabled.
  enabled_metrics     = ["GroupInServiceInstances"]
  metrics_granularity = "1Minute"

  launch_template {
    id      = aws_launch_template.fleet[each.key].id
    version = aws_launch_template.fleet[each.key].latest_version
  }

  # New code replaces the machines one after the other.
  instance_refresh {
    strategy = "Rolling"
  }

  # A machine installs its code as soon as it boots, so its permissions must exist.
  depends_on = [aws_iam_role_policy.fleet]

  tag {
    key                 = "Name"
    value               = local.fleet_name
    propagate_at_launch = true
  }
}

# Backlog per instance: the messages that wait in both queues, divided by the machines in service.
resource "aws_autoscaling_policy" "fleet" {
  for_each = local.fleet

  name                   = "backlog"
  autoscaling_group_name = aws_autoscaling_group.fleet[each.key].name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = each.value.backlog_per_instance

    customized_metric_specification {
      dynamic "metrics" {
        for_each = aws_sqs_queue.worker

        content {
          id          = metrics.key
          return_data = false

          metric_stat {
            stat = "Sum"

            metric {
              namespace   = "AWS/SQS"
              metric_name = "ApproximateNumberOfMessagesVisible"

              dimensions {
                name  = "QueueName"
                value = metrics.value.name
              }
            }
          }
        }
      }

      metrics {
        id          = "instances"
        return_data = false

        metric_stat {
          stat = "Average"

          metric {
            namespace   = "AWS/AutoScaling"
            metric_name = "GroupInServiceInstances"

            dimensions {
              name  = "AutoScalingGroupName"
              value = local.fleet_name
            }
          }
        }
      }

      metrics {
        id          = "backlog"
        label       = "Messages waiting per instance"
        expression  = "(jobs + isolated) / IF(instances > 0, instances, 1)"
        return_data = true
      }
    }
  }
}
