//! The tables, their names in the file, and the version of the records in each.

use redb::TableDefinition;

/// A table's place in the file: keys and values are bytes that `key` and `record` write.
pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Declares the tables: identifier, name in the file, version of its records.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $name:literal, v $version:literal;)*) => {
        /// One table. Index tables have a key of the table that they point into as their value, or no value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Table {
            $($(#[$doc])* $table,)*
        }

        impl Table {
            /// Every table.
            pub(super) const ALL: &'static [Self] = &[$(Self::$table,)*];

            /// How many there are.
            pub(super) const COUNT: usize = Self::ALL.len();

            /// Its name in the file and in error messages.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)*
                }
            }

            /// The version byte of the records that this certgate writes into it.
            pub(super) const fn record_version(self) -> u8 {
                match self {
                    $(Self::$table => $version,)*
                }
            }
        }
    };
}

tables! {
    /// Schema version and counters, by name.
    Meta = "meta", v 1;
    /// Issuers by name.
    Issuers = "issuers", v 3;
    /// External issuers by name.
    ExternalIssuers = "external_issuers", v 1;
    /// Sealed keys by id.
    Keys = "keys", v 1;
    /// System certificates by purpose, issuer, start of use, serial.
    SystemCertificates = "system_certificates", v 1;
    /// Profiles by name and version.
    Profiles = "profiles", v 4;
    /// Tickets by id.
    Tickets = "tickets", v 3;
    /// Ticket ids by the MAC of the secret.
    TicketsByMac = "tickets_by_mac", v 1;
    /// Ticket ids by device and ticket.
    TicketsByDevice = "tickets_by_device", v 1;
    /// Enrolments by id, each with its place in the order of arrival.
    Enrolments = "enrolments", v 1;
    /// Enrolment ids by request key and order of arrival.
    EnrolmentsByRequest = "enrolments_by_request", v 1;
    /// Enrolment ids by profile, transactionID, signer key and order of arrival.
    EnrolmentsByTransaction = "enrolments_by_transaction", v 1;
    /// Ids of the enrolments that wait for approval, by order of arrival.
    EnrolmentsPending = "enrolments_pending", v 1;
    /// Issuer names by enrolment: only those that wait for another issuer than their profile's current one.
    EnrolmentIssuers = "enrolment_issuers", v 1;
    /// Exchanges that concern something that is known, by id: by arrival.
    Exchanges = "exchanges", v 1;
    /// Exchanges of strangers by id: by arrival.
    StrangeExchanges = "exchanges_strange", v 1;
    /// Transcripts of exchanges by id: by arrival.
    Transcripts = "transcripts", v 1;
    /// Where the record of each certificate is, its notAfter and its purpose, by issuer and serial.
    Certificates = "certificates", v 2;
    /// Certificates by number: in the order in which they came.
    CertificateRecords = "certificate_records", v 1;
    /// Certificate keys by fingerprint.
    CertificatesByFingerprint = "certificates_by_fingerprint", v 1;
    /// Certificate keys by the certificate that they supersede and themselves.
    CertificatesBySuperseded = "certificates_by_superseded", v 1;
    /// Bindings by certificate and object.
    Bindings = "bindings", v 1;
    /// Certificate keys by object and certificate.
    BindingsByObject = "bindings_by_object", v 1;
    /// Causes by issuer, serial and cause key.
    Causes = "causes", v 1;
    /// What the causes of a certificate amount to, and its notAfter, by issuer and serial: an index of `causes`, for the start.
    Revocations = "revocations", v 1;
    /// Devices by id.
    Devices = "devices", v 1;
    /// Device ids by kind and value of an identity.
    DevicesByIdentity = "devices_by_identity", v 1;
    /// Device ids by user and device.
    DevicesByUser = "devices_by_user", v 1;
    /// Users by id.
    Users = "users", v 1;
    /// Sources by name.
    Sources = "sources", v 1;
    /// Memberships by device.
    Members = "members", v 1;
    /// Device ids by source and device.
    MembersBySource = "members_by_source", v 1;
    /// Jobs by sequence.
    Jobs = "jobs", v 1;
    /// Living jobs by lane and sequence.
    JobsByLane = "jobs_by_lane", v 1;
    /// Timers by time and subject.
    Timers = "timers", v 1;
    /// What the newest CRL of each scope says of itself, by issuer and scope.
    Crls = "crls", v 2;
    /// The newest CRLs, in pieces, by issuer, scope and place.
    CrlPieces = "crl_pieces", v 1;
    /// What directories have of the CRLs, by directory and issuer.
    Publications = "publications", v 1;
    /// Audit events by sequence.
    Audit = "audit", v 1;
    /// API tokens by id.
    Tokens = "tokens", v 2;
    /// Token ids by the MAC of the secret.
    TokensByMac = "tokens_by_mac", v 1;
}

impl Table {
    /// As redb names it.
    pub(super) const fn definition(self) -> Definition {
        TableDefinition::new(self.name())
    }
}
