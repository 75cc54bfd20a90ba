//! What can be read of a cluster.

use super::{CLUSTER_ID, Stand};

#[tokio::test]
async fn a_cluster_is_found_under_both_prefixes_and_leads_on_by_the_same() {
    let stand = Stand::new().await;
    let client = stand.client();
    for prefix in ["/kafka/v3", "/v3"] {
        let list = client.get(&format!("{prefix}/clusters")).await.json();
        let base = format!("http://{}{prefix}", client.address);
        assert_eq!(list["metadata"]["self"], format!("{base}/clusters"));
        assert_eq!(list["data"][0]["cluster_id"], CLUSTER_ID);
        let own = list["data"][0]["metadata"]["self"].as_str().unwrap();
        assert_eq!(own, format!("{base}/clusters/{CLUSTER_ID}"));
        let path = own.strip_prefix(&format!("http://{}", client.address));
        assert_eq!(client.get(path.unwrap()).await.json(), list["data"][0]);
    }
}
