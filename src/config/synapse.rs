//! The Synapse file: document to [`super::SynapseConfig`].
