//! No oracle: why an envelope does not open is not to be seen, neither in the bytes of the answer nor in the work that is done. What the
//! work takes in time is `benches/uniformity.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use certgate::{
    domain::key::SealedKey,
    ports::{CannotDecrypt, Decrypter, KeyError, Keyring, Signer},
    service::{GatewaySettings, Ports},
    types::{KeyAlgorithm, KeyTransport, Secret, SignatureAlgorithm},
    wire::{
        scep::{FailInfo, PkiMessage},
        x509::PublicKey,
    },
};

use crate::{
    DEVICE,
    common::{
        Client, World,
        unopenable::{REASONS, message},
    },
    keyrings::{Opening, Opens},
};

/// How often private keys were used.
#[derive(Default)]
struct Uses {
    unwrapped: AtomicUsize,
    signed: AtomicUsize,
}

impl Uses {
    fn take(&self) -> (usize, usize) {
        (self.unwrapped.swap(0, Ordering::SeqCst), self.signed.swap(0, Ordering::SeqCst))
    }
}

struct Counting<T: ?Sized>(Arc<T>, Arc<Uses>);

impl Opens for Counting<dyn Keyring> {
    fn keyring(&self) -> &dyn Keyring {
        self.0.as_ref()
    }

    fn signer(&self, key: &SealedKey) -> Result<Arc<dyn Signer>, KeyError> {
        Ok(Arc::new(Counting(self.0.signer(key)?, self.1.clone())))
    }

    fn decrypter(&self, key: &SealedKey) -> Result<Arc<dyn Decrypter>, KeyError> {
        Ok(Arc::new(Counting(self.0.decrypter(key)?, self.1.clone())))
    }
}

impl Signer for Counting<dyn Signer> {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm()
    }

    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.1.signed.fetch_add(1, Ordering::SeqCst);
        self.0.sign(algorithm, message)
    }
}

impl Decrypter for Counting<dyn Decrypter> {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn decrypt(&self, transport: KeyTransport, encrypted_key: &[u8]) -> Result<Secret, CannotDecrypt> {
        self.1.unwrapped.fetch_add(1, Ordering::SeqCst);
        self.0.decrypt(transport, encrypted_key)
    }
}

fn counted() -> (World, Arc<Uses>) {
    let world = World::new(&[("device", DEVICE)]);
    let uses = Arc::new(Uses::default());
    let keyring: Arc<dyn Keyring> = Arc::new(Opening(Counting(world.ports.keyring.clone(), uses.clone())));
    let ports = Ports { keyring, ..world.ports.clone() };
    (world.restarted_on(ports, GatewaySettings::default()), uses)
}

/// The answer without what is random in it: the nonces, and the RSA-2048 signature at its end.
fn comparable(answer: &[u8]) -> Vec<u8> {
    let read = PkiMessage::from_ber(answer).unwrap();
    let recipient_nonce = read.clone().verify().unwrap().reply().unwrap().recipient_nonce;
    let mut answer = answer[..answer.len() - 256].to_vec();
    for nonce in [read.sender_nonce(), &recipient_nonce] {
        let at = answer.windows(nonce.len()).position(|window| window == nonce).unwrap();
        answer[at..at + nonce.len()].fill(0);
    }
    answer
}

#[test]
fn no_reason_shows_in_the_answer_or_in_the_use_of_keys() {
    let (world, uses) = counted();
    let recipient = world.message_certificate("device");
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &world.register("SN1"))));
    let lengths: Vec<_> =
        REASONS.iter().map(|reason| message(&client, &recipient, &csr, *reason).len()).collect();
    assert!(lengths.iter().all(|length| length.abs_diff(lengths[0]) <= 1), "{lengths:?}");

    let mut answers = Vec::new();
    for reason in REASONS {
        let message = message(&client, &recipient, &csr, reason);
        uses.take();
        let rep = world.pki_operation("device", &message).unwrap();
        assert_eq!(uses.take(), (1, 1), "{reason:?}: one content key unwrapped, one answer signed");
        answers.push(comparable(&rep.body));
        assert_eq!(client.open(&message, rep).failure(), FailInfo::BadRequest, "{reason:?}");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(world.leaves(), 0);
    client.enrol(&world, "device", &csr).certificate();
}
