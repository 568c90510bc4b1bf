//! `/asyncapi.json`: valid, and true of what stands on Kafka.

use std::collections::HashSet;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{
    kafka,
    shop::{Shop, cart, check_out, product, settled, unique},
};

fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn fits(validator: &Validator, value: &Value, what: &str) {
    let faults: Vec<_> = validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{what}: {faults:#?}");
}

#[tokio::test]
async fn it_is_served_and_the_official_schema_takes_it() {
    let Some(shop) = Shop::open().await else { return };
    let answer = shop.get("/asyncapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    fits(&jsonschema::validator_for(&read("asyncapi/schema-3.0.0.json")).expect("the official schema"), &answer.body, "/asyncapi.json");
    assert_eq!(answer["asyncapi"], "3.0.0");
    // Without Kafka it describes what there would be.
    assert_eq!(answer["channels"]["order"]["address"], "merx.order");
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../event-schemas/schemas")).expect("the schemas");
    let known: HashSet<String> =
        files.map(|file| file.unwrap().file_name().to_str().unwrap().trim_end_matches(".json").to_owned()).collect();
    let told: HashSet<String> = answer["components"]["messages"].as_object().expect("messages").keys().cloned().collect();
    assert_eq!(told, known);
}

#[tokio::test]
async fn every_message_of_a_shop_is_what_it_says() {
    let Some(brokers) = kafka::brokers() else { return };
    let prefix = unique("described");
    let settings = [("KAFKA_BROKERS", brokers.as_str()), ("KAFKA_TOPIC_PREFIX", &prefix), ("KAFKA_PARTITIONS", "3")];
    let Some(shop) = Shop::open_with(1, &settings).await else { return };
    let sku = product(&shop, "2", 10).await;
    for token in ["tok_ok", "tok_declined"] {
        let cart = cart(&shop, &[(&sku, 1)]).await;
        let order = check_out(&shop, &cart, token).await.expect(201).id();
        settled(&shop, &order).await;
    }
    let document = shop.get("/asyncapi.json").await.expect(200).body;
    assert_eq!(document["channels"]["stock"]["bindings"]["kafka"]["partitions"], 3);
    let part = |part: &Value| {
        let schema = json!({"allOf": [part], "components": document["components"]});
        jsonschema::draft7::options().should_validate_formats(true).build(&schema).expect("a schema")
    };
    let head = shop.get("/v1/projections").await.expect(200)["head"].as_u64().expect("the head");
    let messages = kafka::until(&brokers, &prefix, usize::try_from(head).unwrap()).await;
    for message in messages {
        let (_, category) = message.topic.rsplit_once('.').expect("a topic");
        let channel = &document["channels"][category];
        assert_eq!(channel["address"], message.topic);
        let name = message.type_and_version();
        assert!(channel["messages"][&name].is_object(), "{message:?}");
        let described = &document["components"]["messages"][&name];
        fits(&part(&described["headers"]), &json!(message.headers), &format!("headers of {message:?}"));
        fits(&part(&described["payload"]), &message.data, &format!("data of {message:?}"));
        fits(&part(&described["bindings"]["kafka"]["key"]), &json!(message.key), &format!("key of {message:?}"));
        let known = document["components"]["schemas"]["Headers"]["properties"].as_object().expect("headers");
        assert!(message.headers.keys().all(|name| known.contains_key(name)), "{message:?}");
    }
}
