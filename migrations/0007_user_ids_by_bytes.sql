-- User ids in the read models are compared by their bytes: nobody sorts people by them, and their indexes are built and
-- searched in half the time. Builds those indexes anew, once; the tables stay as they are.
alter table product_list_user alter column user_id type text collate "C";
alter table holdings alter column user_id type text collate "C";
alter table holdings_count alter column user_id type text collate "C";
alter table invest_log alter column user_id type text collate "C";
alter table invest_log_user alter column user_id type text collate "C";
alter table investor_summary alter column user_id type text collate "C";
alter table investor_summary_product alter column user_id type text collate "C";
