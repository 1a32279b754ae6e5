"""Ways in that are asked for instead of listened to: message brokers. Each needs a library of its own."""
