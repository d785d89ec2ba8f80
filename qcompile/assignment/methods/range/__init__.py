"""Range estimators: how much of a tensor's range a scale keeps."""
