//! Indexes hash codes without a model and searches them:
//! `cargo run -p scihcgrl-index --example codes`.

use scihcgrl_index::{
    Codes, Filter, Index, IndexConfig, NewImage, Order, Query, Requirement,
    code::{HashCode, Length},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let index = Index::open(IndexConfig {
        path: folder.path().to_owned(),
        model: Requirement::Exact("an example".to_owned()),
        precision: Requirement::Preferred("fp32".to_owned()),
        lengths: vec![Length::L24],
        sketch: None,
        sketch_storage: None,
        gallery: None,
        cache_bytes: 16 << 20,
    })?;
    let generation = index.generations().active.number;
    for (id, code, label) in [
        ("cat", "0000ff", "animal"),
        ("kitten", "0000fe", "animal"),
        ("lion", "0000f0", "animal"),
        ("ship", "ffff00", "vehicle"),
    ] {
        let code = HashCode::parse(Length::L24, code)?;
        index
            .put(NewImage {
                id: id.parse()?,
                codes: vec![Codes {
                    generation,
                    codes: vec![code],
                    sketch: None,
                }],
                labels: vec![label.to_owned()],
                payload: None,
                media_type: "image/jpeg".to_owned(),
                bytes: 0,
                original: None,
                times: None,
            })
            .await?;
    }
    let found = index.search(&Query {
        code: HashCode::parse(Length::L24, "0000ff")?,
        sketch: None,
        radius: Some(4),
        order: Order::Distance,
        limit: 10,
        offset: 0,
        filter: Filter::any_label(vec!["animal".to_owned()]),
        generation: None,
    })?;
    println!("{} images within radius 4", found.total);
    for found in found.matches {
        println!("{:>2} bits away: {}", found.distance, found.record.id);
    }
    Ok(())
}
