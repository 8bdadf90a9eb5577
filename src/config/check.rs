//! `synapse check`: effective settings with their origin.
