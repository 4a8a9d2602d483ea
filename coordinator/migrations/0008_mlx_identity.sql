-- Builds of one version of MLX differ, so an environment tells the library's file too; empty where it was
-- not told, as in all that was stored before.
alter table fleet.environment add column mlx_sha256 text not null default '';
