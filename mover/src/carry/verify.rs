//! Which checksums are needed, and what they prove. The plan and the judgement are pure; [`sums`] asks for them, both
//! sides at once. Never changes a file.

use lightrail_topics::{Checksum, ChecksumKind};

use super::Verified;
use super::copying::attended;
use super::engine::{Engine, Place, SumOrder};
use super::names::SitePath;
use super::site::{Patience, Verify};
use crate::fault::{Fault, FaultClass, Side};

/// The sums to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SumPlan {
    /// Kinds at the source.
    pub(super) source: Vec<ChecksumKind>,
    /// The kind at the destination.
    pub(super) destination: Option<ChecksumKind>,
    /// The announced sum, if nobody can compute it.
    pub(super) unchecked: Option<Checksum>,
}

impl SumPlan {
    /// What a copy that passes was verified by.
    pub(super) fn verified(&self) -> Verified {
        if self.destination.is_some() { Verified::Checksum } else { Verified::SizeOnly }
    }
}

/// Chooses the sums from what both sides offer.
pub(super) fn plan(
    announced: Option<&Checksum>,
    source: &[ChecksumKind],
    destination: &[ChecksumKind],
    preferred: &[ChecksumKind],
    verify: Verify,
) -> Result<SumPlan, Fault> {
    let wanted = announced.map(Checksum::kind);
    let common = preferred
        .iter()
        .chain(&ChecksumKind::ALL)
        .copied()
        .find(|kind| source.contains(kind) && destination.contains(kind));
    let at_source = wanted.filter(|kind| source.contains(kind));
    let at_destination = wanted.filter(|kind| destination.contains(kind));

    let mut plan = match (at_destination, common) {
        // The announced sum proves the copy; the source's own, where it can be had, tells who is wrong if it does not.
        (Some(kind), _) => SumPlan { source: Vec::new(), destination: Some(kind), unchecked: None },
        (None, Some(kind)) => SumPlan { source: vec![kind], destination: Some(kind), unchecked: None },
        (None, None) if verify == Verify::Size => {
            SumPlan { source: Vec::new(), destination: None, unchecked: None }
        }
        (None, None) => {
            let text = format!(
                "source offers {} and destination {}: no kind in common, and the site does not say verify = \"size\"",
                listed(source),
                listed(destination)
            );
            return Err(Fault::new(FaultClass::Permanent, "cannot-verify", text));
        }
    };
    plan.source.extend(at_source);
    plan.source.dedup();
    if at_source.is_none() && at_destination.is_none() {
        plan.unchecked = announced.cloned();
    }
    Ok(plan)
}

fn listed(kinds: &[ChecksumKind]) -> String {
    if kinds.is_empty() {
        return "no checksum".to_owned();
    }
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// The sums of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) source: Vec<Checksum>,
    pub(super) destination: Option<Checksum>,
}

/// Whether the file at the destination is the source's and the announced one.
pub(super) fn judge(announced: Option<&Checksum>, sums: &Sums) -> Result<(), Fault> {
    let expected = |kind: ChecksumKind| announced.filter(|sum| sum.kind() == kind);
    for sum in &sums.source {
        if let Some(wanted) = expected(sum.kind()).filter(|wanted| *wanted != sum) {
            let text = format!("the source has {sum} where {wanted} was announced");
            return Err(Fault::new(FaultClass::Integrity, "source-differs", text).at(Side::Source, None));
        }
    }
    let Some(got) = &sums.destination else { return Ok(()) };
    let at_source = sums.source.iter().find(|sum| sum.kind() == got.kind());
    for (wanted, whose) in [(at_source, "the source has"), (expected(got.kind()), "announced was")] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
            let text = format!("the destination has {got}, {whose} {wanted}");
            return Err(
                Fault::new(FaultClass::Integrity, "checksum-mismatch", text).at(Side::Destination, None)
            );
        }
    }
    Ok(())
}

/// One end of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) place: Place<'a>,
    pub(super) path: &'a SitePath,
    pub(super) fresh: bool,
}

/// Computes the planned sums, both sides at once.
pub(super) async fn sums(
    engine: &dyn Engine,
    plan: &SumPlan,
    source: End<'_>,
    destination: End<'_>,
    size: u64,
    patience: &Patience,
) -> Result<Sums, Fault> {
    let at_source = async {
        let mut all = Vec::new();
        for kind in &plan.source {
            all.push(sum(engine, Side::Source, source, *kind, size, patience).await?);
        }
        Ok(all)
    };
    let at_destination = async {
        match plan.destination {
            Some(kind) => sum(engine, Side::Destination, destination, kind, size, patience).await.map(Some),
            None => Ok(None),
        }
    };
    let (source, destination) = tokio::try_join!(at_source, at_destination)?;
    Ok(Sums { source, destination })
}

/// One sum, while the server answers its pings.
pub(super) async fn sum(
    engine: &dyn Engine,
    side: Side,
    end: End<'_>,
    kind: ChecksumKind,
    length: u64,
    patience: &Patience,
) -> Result<Checksum, Fault> {
    let limit = patience.summing(length);
    let order = SumOrder { kind, limit, fresh: end.fresh };
    let what = format!("for the {kind} of {}", end.path);
    let work = engine.checksum(end.place, end.path, order);
    attended(engine, end.place, side, &what, limit, patience, work).await
}

#[cfg(test)]
mod tests {
    use ChecksumKind::{Adler32, Crc32c, Md5};

    use super::*;

    fn checksum(text: &str) -> Checksum {
        text.parse().unwrap()
    }

    #[test]
    fn the_plan_uses_the_announced_kind_where_anybody_can() {
        let md5 = checksum("d41d8cd98f00b204e9800998ecf8427e");
        let both = [Adler32, Crc32c];
        let of = |announced: Option<&Checksum>, source: &[_], destination: &[_]| {
            plan(announced, source, destination, &[Crc32c], Verify::Checksum)
                .map(|p| (p.source, p.destination, p.unchecked))
        };
        assert_eq!(
            of(None, &both, &both).unwrap(),
            (vec![Crc32c], Some(Crc32c), None),
            "the site's preference"
        );
        assert_eq!(of(None, &both, &[Adler32]).unwrap(), (vec![Adler32], Some(Adler32), None));
        assert_eq!(of(Some(&md5), &both, &both).unwrap(), (vec![Crc32c], Some(Crc32c), Some(md5.clone())));
        assert_eq!(of(Some(&md5), &both, &[Md5]).unwrap(), (vec![], Some(Md5), None));
        assert_eq!(
            of(Some(&md5), &[Md5, Adler32], &both).unwrap(),
            (vec![Adler32, Md5], Some(Adler32), None)
        );
        assert_eq!(of(Some(&md5), &[Md5], &[Md5]).unwrap(), (vec![Md5], Some(Md5), None));
        assert_eq!(of(None, &[Md5], &[]).unwrap_err().code, "cannot-verify");
        let size = plan(Some(&md5), &[Md5], &[], &[], Verify::Size).unwrap();
        assert_eq!((size.verified(), size.unchecked, size.source), (Verified::SizeOnly, None, vec![Md5]));
    }

    #[test]
    fn the_judgement_says_who_is_wrong() {
        let (a, b) = (checksum("adler32:1"), checksum("adler32:2"));
        let sums = |source: &[&Checksum], destination: &Checksum| Sums {
            source: source.iter().map(|sum| (*sum).clone()).collect(),
            destination: Some(destination.clone()),
        };
        assert!(judge(None, &sums(&[&a], &a)).is_ok());
        assert!(judge(Some(&a), &sums(&[], &a)).is_ok());
        assert_eq!(judge(Some(&b), &sums(&[&a], &a)).unwrap_err().side, Side::Source);
        assert_eq!(judge(Some(&a), &sums(&[&a], &b)).unwrap_err().side, Side::Destination);
        assert_eq!(judge(Some(&a), &sums(&[], &b)).unwrap_err().code, "checksum-mismatch");
    }
}
