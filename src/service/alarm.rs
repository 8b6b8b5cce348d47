//! Alarms, shown and acknowledged. They are raised where their cause is seen: [`super::enrol`].

use super::{Gateway, Listing, ServiceError, audit::Act};
use crate::{
    domain::{
        access::{Authed, Operate, Read},
        alarm::TicketAlarm,
    },
    types::TicketId,
};

impl Gateway {
    /// The alarms that are kept, the newest last.
    pub fn alarms(&self, _authed: &Authed<Read>) -> Result<Listing<TicketAlarm>, ServiceError> {
        let items = self.ports.store.read(|view| Ok::<_, ServiceError>(view.alarms()?))?;
        Ok(Listing::whole(items))
    }

    /// Says that somebody has seen it: it is open no more. A hold stays, to be released by hand. Acknowledging twice is fine.
    pub fn acknowledge_alarm(
        &self,
        authed: &Authed<Operate>,
        ticket: &TicketId,
    ) -> Result<TicketAlarm, ServiceError> {
        let act = Act::of(authed, self.now());
        self.ports.store.write(|tx| {
            let mut alarms = tx.alarms()?;
            let known = alarms.iter_mut().find(|alarm| alarm.ticket == *ticket);
            let alarm = known.ok_or_else(|| ServiceError::not_found("alarm", ticket))?;
            if alarm.acknowledged_at.is_none() {
                alarm.acknowledged_at = Some(act.at);
                alarm.acknowledged_by = Some(act.actor.to_string());
            }
            let acknowledged = alarm.clone();
            tx.put_alarms(&alarms)?;
            tx.append_audit(&act.fact("alarm.acknowledged", ticket, &[]))?;
            Ok(acknowledged)
        })
    }
}
