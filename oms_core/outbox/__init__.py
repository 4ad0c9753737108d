"""Changes of releases, brought as CloudEvents to whoever follows: by webhook, NATS JetStream or Kafka."""
