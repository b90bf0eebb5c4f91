//! Compares filters, totals, orders and writes by filter with a plain list of random payloads,
//! through changes of images, fields and generations, and through restarts.

use std::{cmp::Ordering, collections::BTreeMap};

use proptest::{prelude::*, sample::select};
use scihcgrl_index::{
    Codes, FieldPath, FieldType, Filter, Generation, ImageId, Index, IndexError, ListQuery,
    NewImage, OrderBy, Precondition, Query, Recoded,
    code::{HashCode, Length},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{cases, codes, expected, id, labels, open, query, shown, sketch};

const FIELDS: [(&str, FieldType); 6] = [
    ("brand", FieldType::Keyword),
    ("price", FieldType::Number),
    ("count", FieldType::Integer),
    ("new", FieldType::Bool),
    ("at", FieldType::Time),
    ("sizes.eu", FieldType::Integer),
];

/// The number of filters in a case.
const FILTERS: usize = 5;

/// A filter, to be evaluated without the index.
#[derive(Clone, Debug)]
enum Plain {
    /// A comparison: field, operator, literals.
    Field(usize, &'static str, Vec<Value>),
    Labels(&'static str, Vec<Value>),
    Id(Vec<Value>),
    Not(Box<Plain>),
    And(Box<Plain>, Box<Plain>),
    Or(Box<Plain>, Box<Plain>),
}

/// An image of the plain list.
#[derive(Clone, Debug)]
struct Held {
    image: NewImage,
}

/// The values of a field that its type holds, as numbers or texts, and the number of others.
fn held(payload: Option<&Value>, field: usize) -> (Vec<Value>, usize) {
    let (path, kind) = FIELDS[field];
    let mut found: Vec<&Value> = payload.into_iter().collect();
    for name in path.split('.') {
        found = found
            .into_iter()
            .flat_map(flat)
            .filter_map(|value| value.get(name))
            .collect();
    }
    let all: Vec<&Value> = found.into_iter().flat_map(flat).collect();
    let held: Vec<Value> = all.iter().filter_map(|value| hold(kind, value)).collect();
    let others = all.len() - held.len();
    (held, others)
}

fn flat(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(elements) => elements.iter().flat_map(flat).collect(),
        value => vec![value],
    }
}

fn hold(kind: FieldType, value: &Value) -> Option<Value> {
    match (kind, value) {
        (FieldType::Keyword, Value::String(text)) => Some(json!(text.replace("e\u{301}", "é"))),
        (FieldType::Number, Value::Number(number)) => {
            let exact = number.as_u64().is_none_or(|whole| whole <= 1 << 53);
            exact.then(|| json!(number.as_f64()))
        }
        (FieldType::Integer, Value::Number(number)) => {
            let float = number.as_f64()?;
            (float.fract() == 0.0).then(|| json!(float))
        }
        (FieldType::Bool, Value::Bool(value)) => Some(json!(u8::from(*value))),
        // The times of these tests are all in UTC and of one length.
        (FieldType::Time, Value::String(text)) => {
            (text.len() == 20 && text.ends_with('Z')).then(|| value.clone())
        }
        _ => None,
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.as_str().cmp(&b.as_str()),
    }
}

fn passes(value: &Value, operator: &str, literals: &[Value]) -> bool {
    let order = compare(value, &literals[0]);
    match operator {
        "=" => order.is_eq(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "IN" => literals
            .iter()
            .any(|literal| compare(value, literal).is_eq()),
        _ => value
            .as_str()
            .unwrap()
            .starts_with(literals[0].as_str().unwrap()),
    }
}

impl Plain {
    fn text(&self) -> String {
        let comparison = |name: &str, operator: &str, literals: &[Value]| match operator {
            "EXISTS" | "IS NULL" => format!("{name} {operator}"),
            "IN" => format!("{name} IN {}", json!(literals)),
            _ => format!("{name} {operator} {}", literals[0]),
        };
        match self {
            Plain::Field(field, operator, literals) => {
                comparison(FIELDS[*field].0, operator, literals)
            }
            Plain::Labels(operator, literals) => comparison("labels", operator, literals),
            Plain::Id(literals) => comparison("id", "IN", literals),
            Plain::Not(inner) => format!("NOT ({})", inner.text()),
            Plain::And(a, b) => format!("({}) AND ({})", a.text(), b.text()),
            Plain::Or(a, b) => format!("({}) OR ({})", a.text(), b.text()),
        }
    }

    fn filter(&self) -> Filter {
        self.text().parse().unwrap()
    }

    fn holds(&self, image: &NewImage) -> bool {
        let payload = image.payload.as_ref();
        match self {
            Plain::Field(field, operator, literals) => {
                let (values, others) = held(payload, *field);
                let literals: Vec<Value> = literals
                    .iter()
                    .map(|literal| match literal {
                        Value::Bool(value) => json!(u8::from(*value)),
                        literal => literal.clone(),
                    })
                    .collect();
                match *operator {
                    "EXISTS" => !values.is_empty() || others > 0 || is_empty(payload, *field),
                    "IS NULL" => has_null(payload, *field),
                    _ => values
                        .iter()
                        .any(|value| passes(value, operator, &literals)),
                }
            }
            Plain::Labels(operator, literals) => {
                let mut labels = image.labels.iter().map(|label| json!(label));
                match *operator {
                    "EXISTS" => !image.labels.is_empty(),
                    _ => labels.any(|label| passes(&label, operator, literals)),
                }
            }
            Plain::Id(ids) => ids.contains(&json!(image.id.as_str())),
            Plain::Not(inner) => !inner.holds(image),
            Plain::And(a, b) => a.holds(image) && b.holds(image),
            Plain::Or(a, b) => a.holds(image) || b.holds(image),
        }
    }

    fn uses(&self, field: usize) -> bool {
        match self {
            Plain::Field(used, ..) => *used == field,
            Plain::Labels(..) | Plain::Id(_) => false,
            Plain::Not(inner) => inner.uses(field),
            Plain::And(a, b) | Plain::Or(a, b) => a.uses(field) || b.uses(field),
        }
    }
}

/// True if a member of this path is an empty array.
fn is_empty(payload: Option<&Value>, field: usize) -> bool {
    let members = members(payload, field);
    members
        .iter()
        .any(|value| value.as_array().is_some_and(Vec::is_empty))
}

fn has_null(payload: Option<&Value>, field: usize) -> bool {
    members(payload, field)
        .iter()
        .flat_map(|value| flat(value))
        .any(Value::is_null)
}

fn members(payload: Option<&Value>, field: usize) -> Vec<&Value> {
    let mut found: Vec<&Value> = payload.into_iter().collect();
    for name in FIELDS[field].0.split('.') {
        found = found
            .into_iter()
            .flat_map(flat)
            .filter_map(|value| value.get(name))
            .collect();
    }
    found
}

fn literal(field: usize) -> BoxedStrategy<Value> {
    match FIELDS[field].1 {
        FieldType::Keyword => select(vec![json!("x"), json!("y"), json!("é"), json!("")]).boxed(),
        FieldType::Number => select(vec![json!(1), json!(1.5), json!(2.0), json!(-1e300)]).boxed(),
        FieldType::Integer => select(vec![json!(39), json!(40), json!(40.5), json!(2)]).boxed(),
        FieldType::Bool => any::<bool>().prop_map(|value| json!(value)).boxed(),
        FieldType::Time => select(vec![json!(time(1)), json!(time(2))]).boxed(),
    }
}

fn time(second: u8) -> String {
    format!("2026-01-02T03:04:0{second}Z")
}

fn filter() -> impl Strategy<Value = Plain> {
    let orders = ["=", "<", "<=", ">", ">=", "IN", "EXISTS", "IS NULL"];
    let field = (0..FIELDS.len()).prop_flat_map(move |field| {
        let mut operators = orders.to_vec();
        if FIELDS[field].1 == FieldType::Keyword {
            operators.push("STARTS WITH");
        }
        let literals = prop::collection::vec(literal(field), 1..3);
        (select(operators), literals)
            .prop_map(move |(operator, literals)| Plain::Field(field, operator, literals))
    });
    let label = select(vec![json!("label 0"), json!("label 1"), json!("none")]);
    let operators = select(vec!["=", "IN", ">=", "STARTS WITH", "EXISTS"]);
    let labels = (operators, prop::collection::vec(label, 1..3));
    let ids = prop::collection::vec(
        (0usize..30).prop_map(|number| json!(id(number).as_str())),
        1..9,
    );
    let leaf = prop_oneof![
        6 => field,
        1 => labels.prop_map(|(operator, literals)| Plain::Labels(operator, literals)),
        1 => ids.prop_map(Plain::Id),
    ];
    leaf.prop_recursive(3, 6, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|inner| Plain::Not(inner.into())),
            pair.clone()
                .prop_map(|(a, b)| Plain::And(a.into(), b.into())),
            pair.prop_map(|(a, b)| Plain::Or(a.into(), b.into())),
        ]
    })
}

fn payload() -> impl Strategy<Value = Option<Value>> {
    let member = |values: Vec<Value>| prop::option::weighted(0.7, select(values));
    let members = (
        member(vec![
            json!("x"),
            json!("e\u{301}"),
            json!(7),
            json!(null),
            json!(["x", "y"]),
            json!([]),
        ]),
        member(vec![
            json!(1),
            json!(1.0),
            json!(2.5),
            json!("2"),
            json!(9_007_199_254_740_993_u64),
            json!([1, null]),
        ]),
        member(vec![
            json!(2),
            json!(2.0),
            json!(40),
            json!(40.5),
            json!([39, 40]),
        ]),
        member(vec![json!(true), json!(false), json!("true")]),
        member(vec![json!(time(1)), json!(time(2)), json!("yesterday")]),
        member(vec![
            json!({"eu": 40}),
            json!([{"eu": 39}, {"eu": 40}, {"us": 7}]),
            json!({"eu": [41]}),
            json!(40),
        ]),
    );
    let object = members.prop_map(|(brand, price, count, new, at, sizes)| {
        let names = ["brand", "price", "count", "new", "at", "sizes"];
        let members = names.into_iter().zip([brand, price, count, new, at, sizes]);
        let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(members.collect())
    });
    prop_oneof![9 => object.prop_map(Some), 1 => Just(None), 1 => Just(Some(json!("text")))]
}

/// Filters are given by index, so that each is used several times, before and after changes.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, u8, Option<Value>),
    Merge(usize, Option<Value>, u8),
    Delete(usize),
    DeleteIf(usize, usize),
    ChangeAll(usize, Value),
    Declare(usize),
    DeleteField(usize),
    Reopen,
    Activate,
    Search(Query, usize),
    List(usize, Option<(usize, bool)>, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0usize..30;
    let filter = || 0..FILTERS;
    let put = (number(), any::<u8>(), any::<u8>(), payload());
    let order = prop::option::of((0..FIELDS.len(), any::<bool>()));
    prop_oneof![
        10 => put.prop_map(|(number, seed, bits, payload)| Step::Put(number, seed, bits, payload)),
        3 => (number(), payload(), any::<u8>()).prop_map(|(number, patch, bits)| Step::Merge(number, patch, bits)),
        2 => number().prop_map(Step::Delete),
        2 => (number(), filter()).prop_map(|(number, filter)| Step::DeleteIf(number, filter)),
        1 => (filter(), payload()).prop_map(|(filter, patch)| Step::ChangeAll(filter, patch.unwrap_or_default())),
        4 => (0..FIELDS.len()).prop_map(Step::Declare),
        1 => (0..FIELDS.len()).prop_map(Step::DeleteField),
        1 => Just(Step::Reopen),
        1 => Just(Step::Activate),
        8 => (query(), filter()).prop_map(|(query, filter)| Step::Search(query, filter)),
        8 => (filter(), order, 1usize..9).prop_map(|(filter, order, limit)| Step::List(filter, order, limit)),
    ]
}

fn image(number: usize, generation: u32, seed: u8, bits: u8, payload: Option<Value>) -> NewImage {
    NewImage {
        codes: vec![Codes {
            generation,
            codes: codes(seed),
            sketch: Some(sketch(super::SKETCH, seed)),
        }],
        labels: labels(bits),
        payload,
        ..super::image(number, seed, bits)
    }
}

/// RFC 7396, written again.
fn merged(old: Option<Value>, patch: Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch;
    };
    let mut members: BTreeMap<String, Value> = match old {
        Some(Value::Object(members)) => members.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    for (name, value) in patch {
        match (members.remove(&name), value) {
            (_, Value::Null) => {}
            (old, value) => drop(members.insert(name, merged(old, value))),
        }
    }
    json!(members)
}

/// The index, the plain list and the declared fields.
struct Pair {
    runtime: Runtime,
    index: Index,
    images: Vec<Held>,
    declared: Vec<usize>,
}

impl Pair {
    fn passing(&self, filter: &Plain) -> Vec<&NewImage> {
        let images = self.images.iter().map(|held| &held.image);
        images.filter(|image| filter.holds(image)).collect()
    }

    fn find(&mut self, id: &ImageId) -> Option<&mut NewImage> {
        let images = self.images.iter_mut().map(|held| &mut held.image);
        images.into_iter().find(|image| image.id == *id)
    }

    /// Returns true if the index refuses the filter, as it must if a field is not declared.
    fn is_refused<T>(&self, filter: &Plain, answer: &Result<T, IndexError>) -> bool {
        let is_usable =
            (0..FIELDS.len()).all(|field| !filter.uses(field) || self.declared.contains(&field));
        let is_refused = matches!(answer, Err(IndexError::Filter { .. }));
        assert_eq!(is_refused, !is_usable, "{}", filter.text());
        is_refused
    }

    fn merge(
        &mut self,
        id: &ImageId,
        patch: &Value,
        labels: Option<Vec<String>>,
        expected: Precondition,
    ) -> bool {
        let merge = self.index.merge(
            id.clone(),
            labels.clone(),
            vec![],
            vec![],
            Some(patch.clone()),
            expected,
        );
        let record = match self.runtime.block_on(merge) {
            Ok(record) => record,
            Err(IndexError::PreconditionFailed { .. }) => return false,
            Err(error) => panic!("{error}"),
        };
        let image = self.find(id);
        assert_eq!(record.is_some(), image.is_some());
        let (Some(record), Some(image)) = (record, image) else {
            return false;
        };
        let payload = merged(image.payload.clone(), patch.clone());
        let is_kept = !payload.is_null() && (image.payload.is_some() || payload != json!({}));
        image.payload = is_kept.then_some(payload);
        image.labels = labels.unwrap_or(std::mem::take(&mut image.labels));
        assert_eq!(
            (&record.payload, &record.labels),
            (&image.payload, &image.labels)
        );
        true
    }

    fn declare(&mut self, field: usize) {
        let (path, kind) = FIELDS[field];
        let declare = self.index.declare(path.parse().unwrap(), kind);
        let declared = self.runtime.block_on(declare).unwrap();
        if !declared.built {
            let wanted: Filter = format!("{path} EXISTS").parse().unwrap();
            let query = ListQuery {
                filter: Some(wanted),
                ..ListQuery::default()
            };
            assert!(matches!(
                self.index.list(&query),
                Err(IndexError::Filter { .. })
            ));
            for page in 0..self.index.pages().unwrap() {
                self.runtime
                    .block_on(self.index.build_field(declared.number, page..page + 1))
                    .unwrap();
            }
            self.runtime
                .block_on(self.index.finish_field(declared.number))
                .unwrap();
        }
        if !self.declared.contains(&field) {
            self.declared.push(field);
        }
    }

    /// Makes the same codes in a new generation and activates it.
    fn activate(&mut self) {
        let wanted = Generation::new(
            "ffffffffffff".to_owned(),
            "fp32".to_owned(),
            &Length::ALL,
            Some(super::SKETCH),
        );
        let number = self
            .runtime
            .block_on(self.index.begin(wanted.unwrap()))
            .unwrap();
        let recoded = self.images.iter().map(|held| Recoded {
            id: held.image.id.clone(),
            original: None,
            codes: held.image.codes[0].codes.clone(),
            sketch: held.image.codes[0].sketch.clone(),
        });
        self.runtime
            .block_on(self.index.recode(number, recoded.collect()))
            .unwrap();
        self.runtime.block_on(self.index.activate(number)).unwrap();
        self.runtime.block_on(self.index.discard()).unwrap();
    }

    fn check_list(&self, filter: &Plain, order: Option<(usize, bool)>, limit: usize) {
        let mut query = ListQuery {
            filter: Some(filter.filter()),
            limit,
            ..ListQuery::default()
        };
        if self.is_refused(filter, &self.index.list(&query)) {
            return;
        }
        let mut expected = self.passing(filter);
        if let Some((field, is_descending)) =
            order.filter(|(field, _)| self.declared.contains(field))
        {
            let path: FieldPath = FIELDS[field].0.parse().unwrap();
            query.order_by = Some(OrderBy {
                path,
                is_descending,
            });
            let first = |image: &NewImage| {
                let mut values = held(image.payload.as_ref(), field).0;
                values.sort_by(compare);
                if is_descending {
                    values.pop()
                } else {
                    values.into_iter().next()
                }
            };
            // A stable sort, so that age decides last.
            expected.sort_by(|a, b| match (first(a), first(b)) {
                (Some(a), Some(b)) if is_descending => compare(&b, &a),
                (Some(a), Some(b)) => compare(&a, &b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
        }
        let mut listed = Vec::new();
        loop {
            let page = self.index.list(&query).unwrap();
            assert_eq!(page.total, expected.len() as u64, "{}", filter.text());
            listed.extend(page.records.into_iter().map(|record| record.id));
            let Some(next) = page.next else { break };
            // A cursor survives as text.
            query.after = Some(
                serde_json::from_value::<String>(json!(next))
                    .unwrap()
                    .parse()
                    .unwrap(),
            );
        }
        let expected: Vec<&ImageId> = expected.iter().map(|image| &image.id).collect();
        assert_eq!(
            listed.iter().collect::<Vec<_>>(),
            expected,
            "{} {order:?}",
            filter.text()
        );
    }

    fn check_search(&self, mut query: Query, filter: &Plain) {
        query.filter = Some(filter.filter());
        let answer = self.index.search(&query);
        if self.is_refused(filter, &answer) {
            return;
        }
        let passing = self.passing(filter);
        let all = passing.iter().filter_map(|image| {
            let of = &image.codes[0];
            let code: HashCode = *of
                .codes
                .iter()
                .find(|code| code.length() == query.code.length())?;
            let distance = code.distance(&query.code)?;
            let is_near = query.radius.is_none_or(|radius| distance <= radius);
            is_near.then(|| (distance, code, image.id.clone(), of.sketch.as_ref()))
        });
        assert_eq!(
            shown(&answer.unwrap()),
            expected(all.collect(), &query),
            "{}",
            filter.text()
        );
    }
}

fn play(steps: Vec<Step>, filters: &[Plain]) {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = Pair {
        runtime: Runtime::new().unwrap(),
        index: open(folder.path()).unwrap(),
        images: Vec::new(),
        declared: Vec::new(),
    };
    let mut model = "0123456789ab";
    for step in steps {
        match step {
            Step::Put(number, seed, bits, payload) => {
                let generation = pair.index.generations().active.number;
                let image = image(number, generation, seed, bits, payload);
                pair.runtime
                    .block_on(pair.index.put(image.clone()))
                    .unwrap();
                match pair.find(&image.id) {
                    Some(old) => *old = image,
                    None => pair.images.push(Held { image }),
                }
            }
            Step::Merge(number, patch, bits) => {
                let labels = (bits % 2 == 0).then(|| labels(bits / 2));
                let patch = patch.unwrap_or_else(|| json!({ "brand": null }));
                pair.merge(&id(number), &patch, labels, Precondition::default());
            }
            Step::Delete(number) => {
                pair.images.retain(|held| held.image.id != id(number));
                let delete = pair.index.delete(id(number), Precondition::default());
                pair.runtime.block_on(delete).unwrap();
            }
            Step::DeleteIf(number, filter) => {
                let filter = &filters[filter];
                let expected = Precondition {
                    passes: Some(filter.text()),
                    ..Precondition::default()
                };
                let answer = pair
                    .runtime
                    .block_on(pair.index.delete(id(number), expected));
                if !pair.is_refused(filter, &answer) {
                    let passes = |image: &NewImage| image.id == id(number) && filter.holds(image);
                    let before = pair.images.len();
                    pair.images.retain(|held| !passes(&held.image));
                    let is_deleted = pair.images.len() < before;
                    match answer {
                        Ok(found) => assert!(found && is_deleted),
                        Err(IndexError::PreconditionFailed { .. }) => assert!(!is_deleted),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Step::ChangeAll(filter, patch) => {
                let filter = &filters[filter];
                let query = ListQuery {
                    filter: Some(filter.filter()),
                    limit: usize::MAX,
                    ..ListQuery::default()
                };
                let Ok(listed) = pair.index.list(&query) else {
                    continue;
                };
                for record in listed.records {
                    let expected = Precondition {
                        passes: Some(filter.text()),
                        ..Precondition::default()
                    };
                    assert!(pair.merge(&record.id, &patch, None, expected));
                }
            }
            Step::Declare(field) => pair.declare(field),
            Step::DeleteField(field) => {
                let delete = pair.index.delete_field(FIELDS[field].0.parse().unwrap());
                let existed = pair.runtime.block_on(delete).unwrap();
                assert_eq!(existed, pair.declared.contains(&field));
                pair.declared.retain(|declared| *declared != field);
            }
            Step::Reopen => {
                drop(pair.index);
                pair.index = super::open_as(folder.path(), model, &Length::ALL).unwrap();
                assert_eq!(pair.index.verify().unwrap(), []);
            }
            Step::Activate => {
                pair.activate();
                model = "ffffffffffff";
            }
            Step::Search(query, filter) => pair.check_search(query, &filters[filter]),
            Step::List(filter, order, limit) => pair.check_list(&filters[filter], order, limit),
        }
    }
    assert_eq!(pair.index.verify().unwrap(), []);
}

proptest! {
    #![proptest_config(cases(48, 11))]

    #[test]
    fn filters_do_what_a_plain_list_does(
        steps in prop::collection::vec(step(), 1..80),
        filters in prop::collection::vec(filter(), FILTERS),
    ) {
        play(steps, &filters);
    }
}
