//! A link restores the view that it was made from, for any view.

use moescope::routing::policy::{Policy, Rule};
use moescope_state::address::{Address, LONGEST_TEXT};
use moescope_state::route::Route;
use moescope_state::view::{Part, Tab};
use moescope_state::{COLOURS, ColourBy, ExpertOf, LayerChoice, Picture, State};
use moescope_worker::protocol::BackendChoice;
use proptest::prelude::*;

fn layers() -> impl Strategy<Value = Option<LayerChoice>> {
    prop_oneof![Just(None), Just(Some(LayerChoice::All)), (0usize..64).prop_map(|layer| Some(LayerChoice::One(layer))),]
}

fn policies() -> impl Strategy<Value = Option<Policy>> {
    let rule = (proptest::option::of(0usize..8), proptest::collection::btree_set(0u32..16, 0..4), 1usize..8);
    let rule = rule.prop_map(|(layer, off, top_k)| Rule {
        layers: layer.map(|layer| vec![layer]),
        off: off.into_iter().collect(),
        top_k: Some(top_k),
        ..Rule::default()
    });
    proptest::option::of(rule.prop_map(|rule| Policy(vec![rule])))
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    proptest::sample::subsequence(Part::ALL.to_vec(), 0..=Part::ALL.len())
}

prop_compose! {
    fn addresses()(
        text in proptest::option::of("\\PC{1,60}"),
        model in proptest::option::of("[a-z-]{1,12}|https://[a-z]{1,9}\\.example/a b"),
        find in proptest::option::of("\\PC{1,9}"),
        (layer, policy, compare_policy) in (layers(), policies(), policies()),
        (colour, picture) in (proptest::option::of(0..COLOURS.len()), 0usize..4),
        (token, range_end) in (proptest::option::of(0usize..5000), proptest::option::of(0usize..5000)),
        expert in proptest::option::of((0usize..64, 0u32..256)),
        (compare, backend, tab) in (any::<bool>(), 0usize..4, 1..Tab::ALL.len()),
        (language, present, embed) in (proptest::option::of("[a-z]{2}"), any::<bool>(), parts()),
    ) -> Address {
        Address {
            text,
            model,
            search: find,
            layer,
            policy,
            compare: compare.then(|| "self".to_owned()),
            compare_policy: compare_policy.filter(|_| compare),
            // The opening view's own values are left out of a link.
            colour_by: colour.map(|n| COLOURS[n]).filter(|colour| *colour != COLOURS[0]),
            picture: [None, Some(Picture::Load), Some(Picture::Flow), None][picture],
            token,
            range_end: range_end.filter(|_| token.is_some()),
            expert: expert.map(|(layer, expert)| ExpertOf { layer, expert }),
            backend: [None, Some(BackendChoice::Cpu), Some(BackendChoice::WebGpu),
                Some(BackendChoice::CpuInt8)][backend],
            // A link with an expert and without a tab opens the expert's.
            tab: Some(Tab::ALL[tab]),
            language,
            present,
            embed,
            ..Address::default()
        }
    }
}

/// The link of the page opened with `address`.
fn written(address: &Address) -> String {
    Address::of(&State::new(address, false, None), address.language.as_deref()).to_string()
}

proptest! {
    #[test]
    fn a_link_brings_back_the_same_view(address in addresses()) {
        // The layer stands in a link where a model is open that begins with another one.
        prop_assert_eq!(Address::parse("", &written(&address)), Address { layer: None, ..address });
    }

    #[test]
    fn a_route_is_read_as_it_is_written(address in addresses(), rest in "(/[a-z0-9-]{1,9}(\\?[a-z=&]{0,9})?)?") {
        for route in [Route::Explore(Box::new(address)), Route::Learn(rest.clone()), Route::Lab(rest)] {
            prop_assert_eq!(Route::read("", &route.to_string()), route);
        }
    }

    #[test]
    fn all_of_a_view_is_behind_the_hash(address in addresses()) {
        let link = written(&address);
        prop_assert!(link.starts_with("#/?"), "{link}");
        prop_assert!(link.is_ascii() && !link.contains(' '), "{link}");
    }

    #[test]
    fn an_address_that_makes_no_sense_is_read_to_its_end(query in "\\PC*", fragment in "\\PC*") {
        let address = Address::parse(&query, &fragment);
        prop_assert!(address.ignored.len() <= 13);
    }
}

#[test]
fn places_are_told_apart() {
    for (fragment, route) in [
        ("#/learn", Route::Learn(String::new())),
        ("#/learn/routers?step=2", Route::Learn("/routers?step=2".into())),
        ("#/lab/contrast", Route::Lab("/contrast".into())),
    ] {
        assert_eq!(Route::read("?text=old", fragment), route);
    }
    for fragment in ["", "#", "#/", "#text=a", "#/?text=a", "#/learning", "#learn"] {
        assert!(matches!(Route::read("", fragment), Route::Explore(_)), "{fragment}");
    }
}

#[test]
fn a_link_may_differ_in_its_text_only() {
    let [one, two, other] = ["#/?layer=1&text=one", "#/?layer=1&text=two", "#/?layer=2&text=two"];
    let [one, two, other] = [one, two, other].map(|link| Address::parse("", link));
    assert!(one.differs_at_most_in_text(&two) && !one.differs_at_most_in_text(&other));
}

#[test]
fn a_switch_needs_no_value() {
    assert!(Address::parse("", "#/?present").present && Address::parse("?present=1", "").present);
    assert!(!Address::parse("", "#/?present=0").present);
}

#[test]
fn parts_to_embed_are_named_once() {
    let embed = |value: &str| Address::parse("", &format!("#/?embed={value}"));
    assert_eq!(embed("strip,map").embed, [Part::Strip, Part::Map]);
    for wrong in ["strip,strip", "strip,radar", ",", "all"] {
        let address = embed(wrong);
        assert_eq!((address.embed.len(), address.ignored.len()), (0, 1), "{wrong}");
    }
}

#[test]
fn a_link_of_before_still_opens() {
    let query = "?model=switch&text=Der+Hund&layer=all&policy=%7B%22off%22%3A%5B2%5D%7D&expert=1.5&find=Hund";
    let address = Address::parse(query, "");
    assert_eq!(address.model.as_deref(), Some("switch"));
    assert_eq!(address.text.as_deref(), Some("Der Hund"));
    assert_eq!(address.layer, Some(LayerChoice::All));
    assert_eq!(address.policy, Policy::parse(r#"{"off":[2]}"#).ok());
    assert_eq!(address.expert, Some(ExpertOf { layer: 1, expert: 5 }));
    assert_eq!(address.search.as_deref(), Some("Hund"));
    assert!(address.ignored.is_empty());
}

#[test]
fn a_link_to_a_story_says_no_more_than_its_name_about_the_drawer() {
    let address = Address { story: Some("an-expert".into()), tab: Some(Tab::Cost), ..Address::default() };
    assert_eq!(written(&address), "#/?story=an-expert");
}

#[test]
fn the_fragment_wins_over_the_query() {
    assert_eq!(Address::parse("?text=old", "#text=new").text.as_deref(), Some("new"));
}

#[test]
fn a_text_that_is_too_long_stays_out_of_the_link() {
    let address = Address { text: Some("a".repeat(LONGEST_TEXT + 1)), ..Address::default() };
    assert_eq!(written(&address), "");
}

#[test]
fn what_makes_no_sense_is_said() {
    let address = Address::parse("?layer=top&token=first&view=radar", "");
    assert_eq!(address.ignored.len(), 3);
    assert_eq!((address.layer, address.token, address.picture), (None, None, None));
}

#[test]
fn every_key_is_read() {
    let none = Address::default;
    let expert = ExpertOf { layer: 1, expert: 5 };
    let off = || Policy::parse(r#"{"off":[2]}"#).ok();
    let cases = [
        ("story=one-word", Address { story: Some("one-word".into()), ..none() }),
        ("model=switch", Address { model: Some("switch".into()), ..none() }),
        ("text=a+b", Address { text: Some("a b".into()), ..none() }),
        ("compare=self", Address { compare: Some("self".into()), ..none() }),
        ("lang=zh", Address { language: Some("zh".into()), ..none() }),
        ("find=river", Address { search: Some("river".into()), ..none() }),
        ("recorded=chess", Address { recorded: Some("chess".into()), ..none() }),
        ("layer=all", Address { layer: Some(LayerChoice::All), ..none() }),
        ("backend=cpu", Address { backend: Some(BackendChoice::Cpu), ..none() }),
        ("view=flow", Address { picture: Some(Picture::Flow), ..none() }),
        ("token=7", Address { token: Some(7), ..none() }),
        ("to=9", Address { range_end: Some(9), ..none() }),
        ("colour=entropy", Address { colour_by: Some(ColourBy::Entropy), ..none() }),
        ("tab=cost", Address { tab: Some(Tab::Cost), ..none() }),
        ("expert=1.5", Address { expert: Some(expert), ..none() }),
        ("embed=stage", Address { embed: vec![Part::Stage], ..none() }),
        ("policy={\"off\":[2]}", Address { policy: off(), ..none() }),
        ("compare-policy={\"off\":[2]}", Address { compare_policy: off(), ..none() }),
        ("step=300", Address { step: Some(300), ..none() }),
        ("beside=20", Address { beside: Some(20), ..none() }),
        ("present", Address { present: true, ..none() }),
    ];
    let source = include_str!("../src/address.rs");
    for (at, _) in source.match_indices("get(\"") {
        let key = source[at + 5..].split('"').next().unwrap_or_default();
        assert!(cases.iter().any(|(link, _)| link.starts_with(&format!("{key}="))), "{key} has no case");
    }
    for (link, address) in cases {
        assert_eq!(Address::parse("", &format!("#/?{link}")), address, "{link}");
    }
}
