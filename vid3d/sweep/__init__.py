"""Many runs of one config: what runs there are, where they run, how they are doing."""
