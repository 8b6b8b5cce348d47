//! The whole responder, with messages that are right in everything but what the input spoils: in the payload, in the envelope around it,
//! or in the signed message around that. What is outside of the spoilt part is made anew, so that the checks before it pass.
//!
//! Asserted: no panic, a defined answer (a signed CertRep, or "not a SCEP message"; never "unavailable", which says that the fault is ours),
//! and little memory.

use std::cell::RefCell;

use arbitrary::{Result, Unstructured};
use certgate::{
    service::{GatewaySettings, scep::ScepError},
    types::{ContentCipher, DigestAlgorithm, KeyTransport, Secret},
    wire::{
        scep::{IssuerAndSerialNumber, IssuerAndSubject, MessageType},
        x509::Certificate,
    },
};

use crate::{
    common::{Client, MessageOptions, World, WorldOptions, envelope},
    memory::peak_of,
    tree::{MOST, spoilt},
};

/// What the answer to one message may cost at once, whatever it is: 256 kB of it lie there as received, normalised, decrypted
/// and in parts.
const MOST_MEMORY: usize = 6 * 1024 * 1024;

/// A world is made anew after so many messages: what is issued stays in its store.
const MESSAGES_PER_WORLD: usize = 2000;

const CHALLENGE: &str = "a static challenge";

const PROFILE: &str = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"claim\"\nchallenge = [\"static\"]\nallow-unregistered = true\n\
                       subject-alt-names = [\"dns:{{DEVICE_ID}}.lab.example\"]\n\
                       [legacy]\nsha1 = true\ntriple-des = true\ndes = true\nmd5 = true\n";

struct Bed {
    world: World,
    client: Client,
    recipient: Certificate,
    requests: Vec<Vec<u8>>,
    used: usize,
}

impl Bed {
    fn new(client: Client) -> Self {
        let mut settings = GatewaySettings::default();
        settings.static_challenges.insert("device".parse().unwrap(), vec![Secret::from(CHALLENGE)]);
        let options = WorldOptions { settings, ..WorldOptions::default() };
        let world = World::with(options, &[("device", PROFILE)]);
        // A GetCRL that is right is answered with a CRL: the first ones are there before a gateway listens.
        world.gateway.run_due().unwrap();
        let recipient = world.message_certificate("device");
        let issuer = recipient.issuer().clone();
        let poll = IssuerAndSubject { issuer: issuer.clone(), subject: "CN=x".parse().unwrap() };
        let get = IssuerAndSerialNumber { issuer, serial: recipient.serial().clone() };
        let requests = vec![
            client.csr("CN=SN1", Some(&Secret::from(CHALLENGE))),
            client.csr("CN=SN2,O=Lab,C=CH", None),
            poll.to_der().unwrap(),
            get.to_der().unwrap(),
        ];
        Self { world, client, recipient, requests, used: 0 }
    }

    fn message(&self, choices: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let options = options(choices)?;
        let mut times = [0_usize; 3];
        for _ in 0..choices.int_in_range(1..=3)? {
            times[choices.choose_index(3)?] += choices.int_in_range(1..=3)?;
        }
        let [in_payload, in_envelope, in_message] = times;
        let payload = spoilt(choices.choose(&self.requests)?, in_payload, choices)?;
        let sealed = envelope(&payload[..payload.len().min(MOST)], &self.recipient, &options);
        let content = spoilt(&sealed, in_envelope, choices)?;
        let message = self.client.sign_message(&options, content);
        spoilt(&message, in_message, choices)
    }
}

fn options(choices: &mut Unstructured<'_>) -> Result<MessageOptions> {
    use MessageType::{CertPoll, CertRep, GetCert, GetCrl, PkcsReq, RenewalReq};
    Ok(MessageOptions {
        kind: *choices
            .choose(&[PkcsReq, PkcsReq, PkcsReq, RenewalReq, CertPoll, GetCert, GetCrl, CertRep])?,
        cipher: *choices.choose(&[
            ContentCipher::Aes128Cbc,
            ContentCipher::Aes256Cbc,
            ContentCipher::TripleDesCbc,
            ContentCipher::DesCbc,
        ])?,
        transport: *choices.choose(&[
            KeyTransport::Pkcs1,
            KeyTransport::OaepSha1,
            KeyTransport::OaepSha256,
        ])?,
        digest: *choices.choose(&[DigestAlgorithm::Sha256, DigestAlgorithm::Sha512])?,
    })
}

thread_local! {
    static BED: RefCell<Option<Bed>> = const { RefCell::new(None) };
}

/// One message, made as the input says.
pub fn run(bytes: &[u8]) {
    BED.with_borrow_mut(|bed| {
        let client = match bed.take_if(|bed| bed.used >= MESSAGES_PER_WORLD) {
            Some(old) => old.client,
            None => bed.as_ref().map_or_else(Client::new, |bed| bed.client.clone()),
        };
        let bed = bed.get_or_insert_with(|| Bed::new(client));
        bed.used += 1;
        if let Ok(message) = bed.message(&mut Unstructured::new(bytes)) {
            ask(&bed.world, &message);
        }
    });
}

fn ask(world: &World, message: &[u8]) {
    let (answer, peak) = peak_of(|| world.pki_operation("device", message));
    match answer {
        Ok(rep) => {
            let read =
                certgate::wire::scep::PkiMessage::from_ber(&rep.body).expect("the answer is a pkiMessage");
            let verified = read.verify().expect("the answer is signed");
            verified.reply().expect("the answer has the attributes of a CertRep");
        }
        Err(ScepError::BadRequest(_)) => {}
        Err(fault) => panic!("the responder is at fault: {fault}"),
    }
    assert!(peak <= MOST_MEMORY, "{peak} octets for a message of {}", message.len());
}
