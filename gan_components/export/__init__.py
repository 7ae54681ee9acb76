"""Puts a blessed generator into production: TF Serving's directory, MLflow's registry, the promotion log."""
