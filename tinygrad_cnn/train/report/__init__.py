"""What is written after training: results, page, predictions."""
