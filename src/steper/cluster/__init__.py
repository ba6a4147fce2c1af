"""A run made by many workers: what each is given, and Ray, which hands it out."""
