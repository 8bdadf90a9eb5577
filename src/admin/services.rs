//! `/services`: every known backend with its state and reason.
