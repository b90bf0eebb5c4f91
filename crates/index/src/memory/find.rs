//! Finds the images that meet a condition, and the nearest of them to a code.

use std::{ops::RangeInclusive, sync::Arc};

use crate::{
    code::HashCode,
    memory::{
        directory::Directory,
        filter::{Changed, Find},
        image_set::ImageSet,
        one_by_one::Source,
        passing::Passing,
        segment::Entry,
        selection::{Selection, Span},
    },
    types::{
        error::IndexError,
        field::word,
        filter::condition::{Condition, Property, Test, TextTest},
    },
};

/// If a ball of more than 1/16 of all images is needed, the codes of all passing images are
/// compared instead.
const SCAN_SHARE: u64 = 16;

/// What the directory does not know about images.
pub trait Lookup {
    /// Why a look-up failed.
    type Error;

    /// The numbers of the names that pass a test.
    ///
    /// # Errors
    /// If they cannot be read.
    fn numbers(&mut self, test: &TextTest) -> Result<Vec<u32>, Self::Error>;

    /// The images whose id or time passes a test.
    ///
    /// # Errors
    /// If they cannot be read.
    fn images(&mut self, property: Property, test: &Test) -> Result<ImageSet, Self::Error>;
}

impl Directory {
    /// The images that meet a condition. They are kept, and so are those of each comparison in it,
    /// because other filters may have it too.
    ///
    /// # Errors
    /// Those of `lookup`.
    pub fn passing<L: Lookup>(
        &self,
        condition: &Condition,
        lookup: &mut L,
    ) -> Result<Arc<Passing>, L::Error> {
        let mut finder = Finder {
            directory: self,
            all: self.all(),
            condition,
            lookup,
        };
        finder.known()
    }

    /// Selects a span of the passing images within a radius, by distance, then code, then age.
    /// `None` as the radius means any distance, as `passing` all images.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`].
    pub fn select(
        &self,
        code: &HashCode,
        radius: Option<u32>,
        passing: Option<&Passing>,
        span: Span,
    ) -> Result<Selection, IndexError> {
        let bits = code.length().max_distance();
        let radius = radius.filter(|&radius| radius < bits);
        // A filter that lets all images through costs nothing.
        match (radius, passing.filter(|passing| passing.len() < self.all())) {
            (Some(radius), None) => Ok(self.within(code, radius)?.select(span)),
            (None, None) => Ok(Selection {
                total: self.images(),
                ..self.nearest(code, span.end() as u64)?.select(span)
            }),
            (Some(radius), Some(passing)) if passing.are_few() => {
                self.one_by_one(passing, code, radius, span)
            }
            (Some(radius), Some(passing)) => {
                let ball = self.within(code, radius)?;
                if passing.is_worth_reading(ball.total()) {
                    self.one_by_one(passing, code, radius, span)
                } else {
                    Ok(ball.select_filtered(passing, span, true))
                }
            }
            (None, Some(passing)) if passing.is_gathered() => {
                self.one_by_one(passing, code, bits, span)
            }
            (None, Some(passing)) => self.nearest_passing(passing, code, span),
        }
    }

    fn one_by_one(
        &self,
        passing: &Passing,
        code: &HashCode,
        radius: u32,
        span: Span,
    ) -> Result<Selection, IndexError> {
        let source = Source {
            codes: self.image_codes(),
            at: self.column_of(code.length())?,
            are_coded: self.is_coded(),
        };
        let selection = passing.select(source, code, radius, span);
        Ok(selection.unwrap_or_else(|| source.select(&self.set_of(passing), code, radius, span)))
    }

    /// Selects from many passing images, in balls that grow until they hold enough of them.
    fn nearest_passing(
        &self,
        passing: &Passing,
        code: &HashCode,
        span: Span,
    ) -> Result<Selection, IndexError> {
        let all = self.images();
        // The ball size at which enough images pass if filter and codes are independent, plus a
        // margin.
        let share = (passing.len() as f64 / all.max(1) as f64).min(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and `as` caps it at the largest number"
        )]
        let mut enough = ((span.end() as f64 / share * 1.2) as u64).saturating_add(64);
        // Images without codes pass too, and are in no ball.
        while self.is_coded() && enough < all / SCAN_SHARE {
            let ball = self.nearest(code, enough)?;
            let selection = ball.select_filtered(passing, span, false);
            if selection.total >= span.end() as u64 {
                return Ok(Selection {
                    total: passing.len() as u64,
                    ..selection
                });
            }
            enough = enough.saturating_mul(4);
        }
        self.one_by_one(passing, code, code.length().max_distance(), span)
    }
}

/// Finds the images that meet a condition.
struct Finder<'a, L> {
    directory: &'a Directory,
    /// The number of all images.
    all: usize,
    condition: &'a Condition,
    lookup: &'a mut L,
}

impl<L: Lookup> Find for Finder<'_, L> {
    type Error = L::Error;

    fn find(&mut self) -> Result<Passing, L::Error> {
        let passing = match self.condition {
            Condition::Has(property, test) => self.having(*property, test)?,
            condition => Arc::unwrap_or_clone(self.combine(condition)?),
        };
        // The nearest of a few images are found among them, not among all others.
        Ok(
            if passing.set().is_none() && passing.is_small_in(self.all) {
                Passing::of(self.directory.set_of(&passing), false, self.all)
            } else {
                passing
            },
        )
    }

    fn update(
        &mut self,
        before: &mut Passing,
        commits: &[Changed],
    ) -> Result<Option<()>, L::Error> {
        let Condition::Has(property, test) = self.condition else {
            // Its parts are updated, and combined again.
            return Ok(None);
        };
        let passes: Box<dyn Fn(&Entry) -> bool> = match (*property, test) {
            (_, Test::Exists) if !matches!(property, Property::Field(_) | Property::Labels) => {
                Box::new(|_| true)
            }
            (Property::Labels, _) => {
                let words = Test::Words(self.words(*property, test)?);
                Box::new(move |entry| {
                    let mut labels = entry.labels.iter().copied().map(u64::from);
                    labels.any(|label| words.passes_word(label))
                })
            }
            (Property::Field(field), _) => {
                let at = self
                    .directory
                    .fields()
                    .iter()
                    .position(|one| one.number == field);
                let words = Test::Words(self.words(*property, test)?);
                Box::new(move |entry| {
                    let mut values = at.and_then(|at| entry.values.get(at)).into_iter().flatten();
                    values.any(|&value| words.passes_word(value))
                })
            }
            (Property::CreatedAt, Test::Words(_)) => {
                Box::new(|entry| test.passes_word(word::of_milliseconds(entry.created_at_ms)))
            }
            (Property::UpdatedAt, Test::Words(_)) => {
                Box::new(|entry| test.passes_word(word::of_milliseconds(entry.updated_at_ms)))
            }
            // A changed image is known by the hash of its id only.
            _ => return Ok(None),
        };
        let changed = commits.iter().flat_map(|changed| changed.iter());
        let states = changed.map(|(image, after)| (*image, after.as_ref().map(&passes)));
        before.change(states, self.all);
        Ok(Some(()))
    }
}

impl<L: Lookup> Finder<'_, L> {
    /// The images that meet the condition, perhaps known already.
    fn known(&mut self) -> Result<Arc<Passing>, L::Error> {
        let (cache, version) = self.directory.cache();
        cache.get(version, self.condition, self)
    }

    /// Combines the images that meet the parts of a condition.
    fn combine(&mut self, condition: &Condition) -> Result<Arc<Passing>, L::Error> {
        match condition {
            Condition::Has(..) => {
                let mut part = Finder {
                    directory: self.directory,
                    all: self.all,
                    condition,
                    lookup: self.lookup,
                };
                part.known()
            }
            Condition::Not(inner) => Ok(self.combine(inner)?.negated(self.all).into()),
            Condition::All(parts) => {
                let mut passing = Passing::all(self.all);
                for part in parts {
                    if passing.len() == 0 {
                        break;
                    }
                    passing = passing.and(&*self.combine(part)?, self.all);
                }
                Ok(passing.into())
            }
            Condition::Any(parts) => {
                let mut passing = Passing::of(ImageSet::EMPTY, false, self.all);
                for part in parts {
                    passing = passing.or(&*self.combine(part)?, self.all);
                }
                Ok(passing.into())
            }
        }
    }

    fn having(&mut self, property: Property, test: &Test) -> Result<Passing, L::Error> {
        let set = match property {
            Property::Id | Property::CreatedAt | Property::UpdatedAt => match test {
                Test::Exists => return Ok(Passing::all(self.all)),
                _ => self.lookup.images(property, test)?,
            },
            Property::Field(field) => {
                let words = self.words(property, test)?;
                self.directory.with_values(field, &words)
            }
            Property::Labels => {
                let words = self.words(property, test)?;
                self.directory.labelled(&words)
            }
        };
        Ok(Passing::of(set, false, self.all))
    }

    /// The words of a field or of labels that pass a test, ascending.
    fn words(
        &mut self,
        property: Property,
        test: &Test,
    ) -> Result<Vec<RangeInclusive<u64>>, L::Error> {
        Ok(match test {
            Test::Exists => vec![0..=u64::MAX],
            Test::Words(words) => words.clone(),
            Test::Text(test) => {
                let mut numbers = self.lookup.numbers(test)?;
                numbers.sort_unstable();
                let words = numbers.into_iter().map(|number| match property {
                    Property::Field(_) => word::of_keyword(number),
                    _ => number.into(),
                });
                words.map(|word| word..=word).collect()
            }
        })
    }
}
