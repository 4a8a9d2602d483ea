//! One connection to the coordinator: dialled, greeted, listened to until it breaks.

use proto::wire::agent_service_client::AgentServiceClient;
use proto::wire::session_down::Message;
use proto::{MAX_MESSAGE_BYTES, wire};
use service::tls::explain;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// Control messages on their way up: heartbeats and progress, a few seconds' worth.
const QUEUE: usize = 64;

/// What the link tells.
#[derive(Debug)]
pub enum News {
    /// The connection stands; the first message sent must be the Hello.
    Up {
        control: mpsc::Sender<wire::SessionUp>,
        channel: Channel,
    },
    Said(Box<Message>),
    Down(String),
}

/// Dials once and tells everything up to the end of the link.
pub async fn run(endpoint: Endpoint, news: mpsc::Sender<News>) {
    let why = match talk(endpoint, &news).await {
        Ok(()) => "the coordinator closed the session".to_owned(),
        Err(why) => why,
    };
    // Who listened has ended.
    news.send(News::Down(why)).await.ok();
}

async fn talk(endpoint: Endpoint, news: &mpsc::Sender<News>) -> Result<(), String> {
    let channel = endpoint.connect().await.map_err(|error| explain(&error))?;
    let (control, up) = mpsc::channel(QUEUE);
    let mut client = AgentServiceClient::new(channel.clone())
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    news.send(News::Up { control, channel }).await.ok();
    let session = client.session(ReceiverStream::new(up)).await;
    let mut session = session.map_err(|error| explain(&error))?.into_inner();
    while let Some(said) = session.message().await.map_err(|error| explain(&error))? {
        let Some(message) = said.message else {
            tracing::debug!("a message that this version does not know");
            continue;
        };
        news.send(News::Said(Box::new(message))).await.ok();
    }
    Ok(())
}
