"""The training loop: epochs, steps, schedules, callbacks, metrics."""
