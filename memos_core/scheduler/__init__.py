"""Background work: durable jobs, who runs them, and when."""
