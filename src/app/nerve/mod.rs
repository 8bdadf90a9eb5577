//! The program `nerve`. Its running part is still to come; here is the command line that talks to a running one.

pub mod client;
pub mod socket;
