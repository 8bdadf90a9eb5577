//! The haproxy dialect: lines to settings through one table of directives.
