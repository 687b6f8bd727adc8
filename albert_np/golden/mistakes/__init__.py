"""A catalogue of porting mistakes that run, and the diagnosis of final outputs with it."""
