//! The netcat source over loopback.

use forebay::agent::Agent;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::{channel, deliver, not_yet, soon, start, until};

/// An agent with a netcat source `in` and a memory channel `c`, and more keys for each.
async fn agent(source: &str, memory: &str) -> Agent {
    start(&format!(
        "[channels.c]\ntype = 'memory'\n{memory}\n\
         [sources.in]\ntype = 'netcat'\nport = 0\nchannel = 'c'\n{source}\n"
    ))
    .await
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn connect(agent: &Agent) -> Client {
        let address = agent.address("in").expect("it listens");
        let stream = soon(TcpStream::connect(address)).await.expect("it accepts");
        Client { stream: BufReader::new(stream) }
    }

    async fn send(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.expect("it reads");
    }

    async fn answer(&mut self) -> String {
        let mut line = String::new();
        soon(self.stream.read_line(&mut line)).await.expect("it answers");
        line
    }

    async fn oks(&mut self, count: usize) {
        for number in 0..count {
            assert_eq!(self.answer().await, "OK\n", "answer {number}");
        }
    }

    /// Ends the sending and reads all that is still answered.
    async fn finish(mut self) -> String {
        self.stream.shutdown().await.expect("it is open");
        let mut rest = String::new();
        soon(self.stream.read_to_string(&mut rest)).await.expect("it closes in order");
        rest
    }
}

#[tokio::test]
async fn each_line_is_an_event_and_is_answered() {
    let agent = agent("", "").await;
    let mut client = Client::connect(&agent).await;
    client.send(b"one\n\ntw").await;
    client.oks(2).await;
    client.send(b"o\r\n\xff\xfe\n").await;
    client.oks(2).await;
    assert_eq!(client.finish().await, "");
    let bodies = deliver(&channel(&agent, "c"), 4).await;
    assert_eq!(bodies, ["one", "", "two\r", "\u{fffd}\u{fffd}"]);
    agent.stop().await.expect("nothing failed");
}

#[tokio::test]
async fn a_rest_without_a_newline_is_a_line() {
    let agent = agent("strip_cr = true", "").await;
    let mut client = Client::connect(&agent).await;
    client.send(b"one\r\ntwo\rrest\r").await;
    client.oks(1).await;
    assert_eq!(client.finish().await, "OK\n");
    assert_eq!(deliver(&channel(&agent, "c"), 2).await, ["one", "two\rrest"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lines_in_flight_come_out_in_order_and_are_all_answered() {
    let agent = agent("batch_size = 64", "").await;
    let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    let mut client = Client::connect(&agent).await;
    client.send((lines.join("\n") + "\n").as_bytes()).await;
    client.oks(lines.len()).await;
    assert_eq!(deliver(&channel(&agent, "c"), lines.len()).await, lines);
}

#[tokio::test]
async fn a_line_too_long_is_refused_and_nothing_else_is_harmed() {
    let agent = agent("max_line_length = 8", "").await;
    let mut other = Client::connect(&agent).await;
    for too_long in ["12345678\nlost\n", "123456789", "1234567890123456789012\n"] {
        let mut client = Client::connect(&agent).await;
        client.send(format!("1234567\n{too_long}").as_bytes()).await;
        client.oks(1).await;
        let refusal = "FAILED: Event exceeds the maximum length (8 chars, including newline)\n";
        assert_eq!(client.answer().await, refusal);
        assert_eq!(client.finish().await, "", "it is closed");
    }
    other.send(b"other\n").await;
    other.oks(1).await;
    let expected = ["1234567", "1234567", "1234567", "other"];
    assert_eq!(deliver(&channel(&agent, "c"), 4).await, expected);
    assert_eq!(channel(&agent, "c").stats().events, 0);
}

#[tokio::test]
async fn a_line_over_the_channels_limit_is_refused() {
    let agent = agent("max_line_length = '1MiB'", "bytes_max = '4KiB'").await;
    let mut client = Client::connect(&agent).await;
    client.send(b"fits\n").await;
    client.oks(1).await;
    client.send(&[&[b'x'; 1500][..], b"\n"].concat()).await;
    assert!(client.answer().await.starts_with("FAILED: Event exceeds the maximum length (1024 "));
    assert_eq!(deliver(&channel(&agent, "c"), 1).await, ["fits"]);
}

#[tokio::test]
async fn a_full_channel_holds_the_answers_until_there_is_space() {
    let agent = agent("batch_size = 1", "events_max = 2").await;
    let channel = channel(&agent, "c");
    let mut client = Client::connect(&agent).await;
    let lines: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    client.send((lines.join("\n") + "\n").as_bytes()).await;
    client.oks(2).await;
    not_yet(client.answer()).await;
    let mut delivered = Vec::new();
    for _ in 0..38 {
        delivered.extend(deliver(&channel, 1).await);
        client.oks(1).await;
    }
    delivered.extend(deliver(&channel, 2).await);
    assert_eq!(delivered, lines);
}

#[tokio::test]
async fn a_batch_larger_than_a_transaction_is_divided() {
    let agent = agent("batch_size = 1000", "bytes_max = '8KiB'").await;
    let channel = channel(&agent, "c");
    let lines: Vec<String> = (0..30).map(|number| format!("{number:0200}")).collect();
    let mut client = Client::connect(&agent).await;
    client.send((lines.join("\n") + "\n").as_bytes()).await;
    client.oks(30).await;
    assert_eq!(deliver(&channel, 30).await, lines);
}

#[tokio::test]
async fn without_answers_the_lines_still_come() {
    let agent = agent("ack_every_event = false", "").await;
    let mut client = Client::connect(&agent).await;
    client.send(b"one\ntwo\n").await;
    assert_eq!(client.finish().await, "");
    assert_eq!(deliver(&channel(&agent, "c"), 2).await, ["one", "two"]);
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_what_it_sent() {
    let agent = agent("", "").await;
    let mut client = Client::connect(&agent).await;
    client.send(b"one\ntwo\n").await;
    client.oks(2).await;
    client.send(b"three\n").await;
    drop(client);
    assert_eq!(deliver(&channel(&agent, "c"), 3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn every_channel_of_a_source_gets_every_line() {
    let agent = start(
        "channels.a.type = 'memory'\nchannels.b = { type = 'memory', events_max = 1 }\n\
         sources.in = { type = 'netcat', port = 0, channels = ['a', 'b'] }\n",
    )
    .await;
    let mut client = Client::connect(&agent).await;
    client.send(b"one\ntwo\n").await;
    client.oks(1).await;
    assert_eq!(deliver(&channel(&agent, "b"), 1).await, ["one"]);
    client.oks(1).await;
    assert_eq!(deliver(&channel(&agent, "b"), 1).await, ["two"]);
    assert_eq!(deliver(&channel(&agent, "a"), 2).await, ["one", "two"]);
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let agent = agent("max_connections = 1", "").await;
    let mut first = Client::connect(&agent).await;
    first.send(b"one\n").await;
    first.oks(1).await;
    let mut second = Client::connect(&agent).await;
    second.send(b"two\n").await;
    not_yet(second.answer()).await;
    first.finish().await;
    second.oks(1).await;
}

#[tokio::test]
async fn a_stop_closes_the_connections_and_keeps_what_was_answered() {
    let agent = agent("", "").await;
    let channel = channel(&agent, "c");
    let mut client = Client::connect(&agent).await;
    client.send(b"one\nincompl").await;
    client.oks(1).await;
    let stopping = tokio::spawn(agent.stop());
    assert_eq!(client.answer().await, "", "it is closed without another answer");
    soon(stopping).await.expect("it ends").expect("nothing failed");
    assert_eq!(channel.stats().events, 1);
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start_and_is_named() {
    let agent = agent("", "").await;
    let port = agent.address("in").expect("it listens").port();
    let config = crate::support::parse(&format!(
        "channels.c.type = 'memory'\n\
         sources.twin = {{ type = 'netcat', port = {port}, channel = 'c' }}\n"
    ));
    let failure = Agent::start(config).await.expect_err("the port is taken").to_string();
    assert!(failure.contains("`twin`") && failure.contains(&port.to_string()), "{failure}");
}

#[tokio::test]
async fn a_closed_channel_is_told_to_the_client() {
    let agent = agent("", "").await;
    let channel = channel(&agent, "c");
    let mut client = Client::connect(&agent).await;
    client.send(b"one\n").await;
    client.oks(1).await;
    channel.close();
    client.send(b"two\n").await;
    assert_eq!(client.answer().await, "FAILED: the channel is closed\n");
    until(|| (channel.stats().events == 1).then_some(())).await;
}
