//! Every metric name, its unit and its help text.
