//! Checks of tasks and jobs.
