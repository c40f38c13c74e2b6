"""Standing questions: conditions that are watched for."""
