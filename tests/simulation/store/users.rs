//! Users and their warnings, behind the same faults.

use async_trait::async_trait;
use clawback_domain::{
    PartnerId, Time, UserId,
    event::Event,
    item::Pull,
    user::{Settling, User, Watching},
    warning::UserSettings,
};
use clawback_store::{DueUser, StoreError, Users, Warning, WarningFilter};

use super::SimStore;

#[async_trait]
impl Users for SimStore {
    async fn user_settings(&self, partner: &PartnerId, user: &UserId) -> Result<UserSettings, StoreError> {
        let (partner, user) = (partner.clone(), user.clone());
        self.read(|store| async move { store.user_settings(&partner, &user).await }).await
    }

    async fn set_user_settings(
        &self,
        partner: &PartnerId,
        user: &UserId,
        settings: UserSettings,
        now: Time,
    ) -> Result<(), StoreError> {
        let (partner, user) = (partner.clone(), user.clone());
        self.write(move |store| async move { store.set_user_settings(&partner, &user, settings, now).await }).await
    }

    async fn claim_due_users(&self, now: Time, limit: u32, except: &[PartnerId]) -> Result<Vec<DueUser>, StoreError> {
        let except = except.to_vec();
        self.write(move |store| async move { store.claim_due_users(now, limit, &except).await }).await
    }

    async fn take_turn_of_user(
        &self,
        partner: &PartnerId,
        user: &UserId,
        version: i64,
        due_at: Time,
    ) -> Result<Option<User>, StoreError> {
        let (partner, user) = (partner.clone(), user.clone());
        self.write(move |store| async move { store.take_turn_of_user(&partner, &user, version, due_at).await }).await
    }

    async fn watching(&self, partner: &PartnerId, user: &UserId) -> Result<Option<Watching>, StoreError> {
        let (partner, user) = (partner.clone(), user.clone());
        self.read(|store| async move { store.watching(&partner, &user).await }).await
    }

    async fn settle_user(&self, settling: &Settling) -> Result<Option<Vec<Event>>, StoreError> {
        let settling = settling.clone();
        self.write(|store| async move { store.settle_user(&settling).await }).await
    }

    async fn crowd(&self, partner: &PartnerId, from: Time, until: Time) -> Result<u64, StoreError> {
        let partner = partner.clone();
        self.read(move |store| async move { store.crowd(&partner, from, until).await }).await
    }

    async fn warnings(&self, filter: WarningFilter) -> Result<Vec<Warning>, StoreError> {
        self.read(|store| async move { store.warnings(filter).await }).await
    }

    async fn expiring(&self, partner: &PartnerId, from: Time, until: Time, limit: u32) -> Result<Vec<Pull>, StoreError> {
        let partner = partner.clone();
        self.read(move |store| async move { store.expiring(&partner, from, until, limit).await }).await
    }
}
