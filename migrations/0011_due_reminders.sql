-- What is due is looked for several times a second. Payments that wait for their gateway are kept in the same table for whoever comes after a
-- crash, always due and any number of them: the index by time leaves them out, so that looking does not read all of them each time.
create index reminders_due on reminders (due_at) where kind <> 'payment';
drop index reminders_by_time;
