"""A working folder as a whole: its settings, what is ready for the job, how far the job is, what comes next."""
