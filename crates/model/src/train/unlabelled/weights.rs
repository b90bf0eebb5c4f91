//! The weights of directions of the feature.

/// Weights of the directions of the feature: by the effect of changes on them, and by how pictures
/// differ in them.
pub(crate) struct DirectionWeights {
    /// The ridge of [`components`](super::components::Spread::components). A smaller ridge favours
    /// directions that changes leave alone.
    pub ridge: f64,
    /// The evenness of the weights of directions in a code, 0 to 1. Kinds differ most in the
    /// largest directions, so a lower evenness favours kinds.
    pub evenness: f64,
    /// The share of a sketch that distinguishes kinds.
    pub kinds: f64,
}

/// Weights for a model that will search other pictures, of other kinds, than those that it learns
/// from.
pub(crate) const FOR_OTHER_IMAGES: DirectionWeights = DirectionWeights {
    ridge: 3.0,
    evenness: 0.5,
    kinds: 0.0,
};

/// Weights for a model that will search the pictures that it learns from.
pub(crate) const FOR_SAME_IMAGES: DirectionWeights = DirectionWeights {
    ridge: 1.0,
    evenness: 0.0,
    kinds: 0.4,
};
