//! DNS names in registrations, resolved off the data path and refreshed.
