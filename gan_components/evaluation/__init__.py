"""TrainedModel -> Evaluation: draws images as served, measures them, checks them for copies, judges them."""
