//! How directions of the feature are weighted.

/// Weights of the directions of the feature: by the effect of changes on them, and by how pictures
/// differ in them.
pub(crate) struct DirectionWeights {
    /// The ridge of [`components`](super::components::Spread::components). The smaller it is, the
    /// more it counts that changes leave a direction alone.
    pub ridge: f64,
    /// How equally the directions count that bits are made of, 0 to 1. Kinds differ in the largest.
    pub evenness: f64,
    /// The share of a sketch that tells kinds apart.
    pub kinds: f64,
}

/// For a model that will search other pictures, of other kinds, than it learns from.
pub(crate) const FOR_OTHER_IMAGES: DirectionWeights = DirectionWeights {
    ridge: 3.0,
    evenness: 0.5,
    kinds: 0.0,
};

/// For a model that will search the pictures that it learns from.
pub(crate) const FOR_SAME_IMAGES: DirectionWeights = DirectionWeights {
    ridge: 1.0,
    evenness: 0.0,
    kinds: 0.4,
};
