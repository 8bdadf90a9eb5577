//! What every source must do: pending → known → changed → source lost → recovered.
