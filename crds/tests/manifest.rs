//! Manifests as people write them, wrong in every way people get them wrong.

use pathsteer_crds::Kind;
use pathsteer_crds::manifest::{self, ManifestError};

fn errors(text: &str) -> Vec<String> {
    let errors = manifest::parse(text, "site.yaml").expect_err("this manifest is wrong");
    errors.iter().map(ManifestError::to_string).collect()
}

const UPLINK: &str = "\
apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: fiber}
spec:
  slot: 1
  kind: fiber
  interface: wan1
";

#[test]
fn documents_are_read_each_by_its_kind_with_the_line_it_begins_on() {
    let site = "apiVersion: pathsteer.io/v1alpha1\nkind: Site\nmetadata: {name: rv-07}\nspec: {anchors: [a], vips: [198.18.7.1]}\n";
    let text = format!("# two\n---\n{UPLINK}---\n# nothing\n---\n{site}");
    let objects = manifest::parse(&text, "site.yaml").unwrap();
    assert_eq!(
        objects.iter().map(|o| (o.object.kind(), o.line)).collect::<Vec<_>>(),
        [(Kind::Uplink, 3), (Kind::Site, 13)]
    );
    assert_eq!(objects[0].object.key(), "rv-07/fiber");
    assert_eq!(objects[0].file, "site.yaml");
}

#[test]
fn an_unknown_field_is_named_with_its_place_and_what_was_meant() {
    let text = UPLINK.replace("  slot: 1", "  slott: 1");
    assert_eq!(
        errors(&text),
        [
            "site.yaml:4:1: spec.slot: is missing (add it)",
            "site.yaml:5:3: spec.slott: unknown field `slott` (did you mean `slot`?)",
        ]
    );
    let text = UPLINK.replace("  slot: 1", "  slot: 1\n  colour: blue");
    assert_eq!(
        errors(&text),
        [
            "site.yaml:6:3: spec.colour: unknown field `colour` (fields here are slot, kind, interface, attach, address, resolvers, mtu, underlay, copyBudget, cost, metered)"
        ]
    );
}

#[test]
fn an_unknown_field_is_no_less_wrong_further_inside() {
    let address = "{static: {addresses: [172.16.7.1/24], gateways: [], gatways: [172.16.7.2]}}";
    assert_eq!(
        errors(&format!("{UPLINK}  address: {address}\n")),
        ["site.yaml:8:64: spec.address.static.gatways: unknown field `gatways` (did you mean `gateways`?)"]
    );
    let anchor = "apiVersion: pathsteer.io/v1alpha1\nkind: Anchor\nmetadata: {name: dal-a}\nspec:\n  endpoints: [{address: 203.0.113.10}]\n  internet: {interface: inet0, addresses: [198.51.100.1/24]}\n  egress: {snat: {pool: [198.51.100.9/32], pol: x}}\n";
    assert_eq!(errors(anchor), ["site.yaml:7:44: spec.egress.snat.pol: unknown field `pol` (did you mean `pool`?)"]);
}

#[test]
fn everything_wrong_in_a_file_is_named_at_once_in_the_order_of_lines() {
    let text = "\
apiVersion: pathsteer.io/v2
kind: Uplink
metadata:
  name: Fiber
  site: rv-07
  resourceVersion: 7
spec:
  slot: 9
  kind: fibre
  interfce: wan1
  address: {static: {addresses: [10.0.0.300/24, 10.0.0.1/24], gateways: [x]}}
status: {}
---
kind: Sites
---
apiVersion: pathsteer.io/v1alpha1
kind: Uplink
metadata: {site: rv-07, name: lte, naem: x}
spec: {slot: 9, kind: cellular, interface: ps0}
";
    insta::assert_snapshot!(errors(text).join("\n"), @"
    site.yaml:1:13: apiVersion: `pathsteer.io/v2` is not a version this program reads (write pathsteer.io/v1alpha1)
    site.yaml:6:20: metadata.resourceVersion: is written by the server alone (remove it)
    site.yaml:7:1: spec.interface: is missing (add it)
    site.yaml:9:9: spec.kind: `fibre` is not known here (did you mean `fiber`?)
    site.yaml:10:3: spec.interfce: unknown field `interfce` (did you mean `interface`?)
    site.yaml:11:34: spec.address.static.addresses[0]: found `10.0.0.300/24` where an address with prefix length such as 172.16.7.0/24 is needed
    site.yaml:11:74: spec.address.static.gateways[0]: found `x` where an IP address is needed
    site.yaml:12:1: status: is written by the server alone (remove it)
    site.yaml:14:7: kind: `Sites` is not a kind (did you mean `Site`?)
    site.yaml:18:36: metadata.naem: unknown field `naem` (did you mean `name`?)
    site.yaml:19:14: spec.slot: 9 is out of range: slots are 1 to 8
    site.yaml:19:44: spec.interface: `ps0` starts with `ps`, which marks PathSteer's own interfaces: rename the interface
    ");
}

#[test]
fn an_unknown_kind_a_missing_kind_and_what_is_no_mapping_are_named() {
    assert_eq!(errors("kind: Sites"), ["site.yaml:1:7: kind: `Sites` is not a kind (did you mean `Site`?)"]);
    assert!(errors("spec: {}")[0].starts_with("site.yaml:1:1: kind: is missing (write one of Fabric"));
    assert!(errors("- 1\n- 2")[0].starts_with("site.yaml:1:1: a manifest is a mapping"));
}

#[test]
fn a_key_given_twice_is_refused_where_it_is_repeated() {
    let text = UPLINK.replace("  kind: fiber", "  kind: fiber\n  slot: 2");
    assert_eq!(errors(&text), ["site.yaml:7:3: `slot` is given twice (remove one)"]);
}

#[test]
fn what_is_not_yaml_is_refused_where_it_breaks() {
    let text = format!("{UPLINK}---\nkind: [\n");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("site.yaml:9:") && errors[0].contains("cannot be read as YAML"), "{errors:?}");
}

#[test]
fn text_that_yaml_takes_for_something_else_must_be_quoted() {
    let policy = "apiVersion: pathsteer.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web}\nspec:\n  match:\n    - {protocol: tcp, ports: [443]}\n";
    assert_eq!(
        errors(policy),
        ["site.yaml:6:31: spec.match[0].ports[0]: found the number 443 where text is needed (put it in quotes)"]
    );
    assert_eq!(
        errors(&policy.replace("443", "\"443-80\"")),
        ["site.yaml:6:31: spec.match[0].ports[0]: `443-80` is not a port or range: write \"443\" or \"10000-20000\""]
    );
    manifest::parse(&policy.replace("name: web", "name: no").replace("443", "\"443\""), "f").expect("`no` is a name");
}

#[test]
fn rules_of_the_kind_point_at_the_field_or_its_nearest_parent() {
    let text = UPLINK.replace("slot: 1", "slot: 9").replace("wan1", "ps0").replace("site: rv-07, ", "");
    let errors = errors(&text);
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("site.yaml:3:1: metadata.site: Uplink belongs to a site"), "{errors:?}");
    assert!(errors[1].starts_with("site.yaml:5:9: spec.slot: 9 is out of range"), "{errors:?}");
    assert!(errors[2].starts_with("site.yaml:7:14: spec.interface: `ps0` starts with"), "{errors:?}");
}

#[test]
fn merge_keys_are_refused_and_aliases_are_read() {
    let text = UPLINK.replace("name: fiber", "name: &n fiber").replace("  slot: 1", "  slot: 1\n  address: *n");
    assert_eq!(
        errors(&text),
        ["site.yaml:6:12: spec.address: `fiber` is not known here (words here are dhcp, slaac, host, dhcpv6, static)"]
    );
    let text = UPLINK.replace("spec:", "spec: &s").replace("  slot: 1", "  slot: 1\n  <<: {cost: 3}");
    assert!(errors(&text)[0].contains("erge"), "{:?}", errors(&text));
}

#[test]
fn an_object_survives_being_written_and_read() {
    let object = manifest::parse(UPLINK, "site.yaml").unwrap().remove(0).object;
    let yaml = manifest::to_yaml(&object);
    assert_eq!(manifest::parse(&yaml, "again.yaml").unwrap()[0].object, object);
    assert!(yaml.starts_with("apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\n"), "{yaml}");
}

#[test]
fn an_empty_list_inside_of_something_survives_too() {
    let text = UPLINK.to_owned() + "  address: {static: {addresses: [172.16.7.1/24], gateways: []}}\n";
    let object = manifest::parse(&text, "site.yaml").unwrap().remove(0).object;
    let yaml = manifest::to_yaml(&object);
    assert_eq!(manifest::parse(&yaml, "again.yaml").map(|mut read| read.remove(0).object), Ok(object), "{yaml}");
}

#[test]
fn every_example_in_a_doc_comment_is_a_valid_manifest() {
    let sources = [
        (Kind::Fabric, include_str!("../src/fabric.rs")),
        (Kind::Anchor, include_str!("../src/anchor.rs")),
        (Kind::Site, include_str!("../src/site.rs")),
        (Kind::Uplink, include_str!("../src/uplink.rs")),
        (Kind::Vlan, include_str!("../src/vlan.rs")),
        (Kind::TrafficPolicy, include_str!("../src/traffic_policy.rs")),
        (Kind::Mode, include_str!("../src/mode.rs")),
        (Kind::Override, include_str!("../src/overrides.rs")),
    ];
    for (kind, source) in sources {
        let (_, rest) = source.split_once("```yaml\n").expect("every kind shows its YAML");
        let (block, _) = rest.split_once("/// ```").unwrap();
        let yaml: String = block.lines().map(|line| format!("{}\n", line.strip_prefix("/// ").unwrap_or(""))).collect();
        let objects = manifest::parse(&yaml, kind.name()).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(objects.iter().map(|o| o.object.kind()).collect::<Vec<_>>(), [kind]);
    }
}
