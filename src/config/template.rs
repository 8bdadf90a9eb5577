//! `<%= ENV['X'] %>` and `ENV.fetch`; anything else is a clear error.
