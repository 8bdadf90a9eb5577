//! YAML as Psych reads it (YAML 1.1 scalars).
