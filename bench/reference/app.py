"""The service that claimrail replaces, as a careful FastAPI user would write it: one claim
in one transaction, its lines in one statement, indexes for what is asked, a pool for each
worker. It has no outbox, no identity and no totals; the ranking is a GROUP BY."""

import os
import re
import uuid
from datetime import datetime
from decimal import Decimal
from typing import List, Optional

from fastapi import FastAPI
from pydantic import BaseModel, validator
from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, Numeric, String, create_engine, func, select
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import Session, declarative_base

engine = create_engine(os.environ["DATABASE_URL"], pool_size=16, max_overflow=0, future=True)
Base = declarative_base()


class Claim(Base):
    __tablename__ = "claims"
    id = Column(UUID(as_uuid=True), primary_key=True)
    net_fee = Column(Numeric(14, 2), nullable=False)
    created_at = Column(DateTime, nullable=False, default=datetime.utcnow)


class Line(Base):
    __tablename__ = "lines"
    id = Column(Integer, primary_key=True)
    claim_id = Column(UUID(as_uuid=True), ForeignKey("claims.id"), nullable=False, index=True)
    service_date = Column(DateTime, nullable=False)
    submitted_procedure = Column(String(16), nullable=False)
    quadrant = Column(String(16))
    plan_group_number = Column(String(64), nullable=False)
    subscriber_number = Column(String(64), nullable=False)
    provider_npi = Column(String(10), nullable=False)
    provider_fees = Column(Numeric(12, 2), nullable=False)
    allowed_fees = Column(Numeric(12, 2), nullable=False)
    member_coinsurance = Column(Numeric(12, 2), nullable=False)
    member_copay = Column(Numeric(12, 2), nullable=False)
    net_fee = Column(Numeric(12, 2), nullable=False)
    __table_args__ = (Index("lines_by_provider", "provider_npi", "net_fee"),)


def fold(name):
    name = name.replace("#", " number ").lower()
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_")


def money(text):
    return Decimal(str(text).strip().lstrip("$").replace(",", ""))


class LineIn(BaseModel):
    service_date: datetime
    submitted_procedure: str
    quadrant: Optional[str] = None
    plan_group_number: str
    subscriber_number: str
    provider_npi: str
    provider_fees: Decimal
    allowed_fees: Decimal
    member_coinsurance: Decimal
    member_copay: Decimal

    def __init__(self, **data):
        super().__init__(**{fold(k): v for k, v in data.items()})

    @validator("service_date", pre=True)
    def read_date(cls, value):
        return datetime.strptime(value, "%m/%d/%y %H:%M")

    @validator("submitted_procedure")
    def check_procedure(cls, value):
        if not value.startswith("D"):
            raise ValueError("must start with D")
        return value

    @validator("provider_npi")
    def check_npi(cls, value):
        if not re.fullmatch(r"\d{10}", value):
            raise ValueError("must have 10 digits")
        return value

    @validator("provider_fees", "allowed_fees", "member_coinsurance", "member_copay", pre=True)
    def read_money(cls, value):
        return money(value)


app = FastAPI()


@app.on_event("startup")
def make_tables():
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        Base.metadata.create_all(connection)


@app.get("/readyz")
def ready():
    return {}


@app.post("/claim-process")
def claim_process(lines: List[LineIn]):
    claim_id, rows = uuid.uuid4(), []
    for line in lines:
        row = line.dict()
        row["claim_id"] = claim_id
        row["net_fee"] = line.provider_fees + line.member_coinsurance + line.member_copay - line.allowed_fees
        rows.append(row)
    with Session(engine) as session, session.begin():
        session.add(Claim(id=claim_id, net_fee=sum(r["net_fee"] for r in rows)))
        session.flush()
        ids = session.execute(Line.__table__.insert().returning(Line.id).values(rows)).scalars().all()
    for row, key in zip(rows, ids):
        row["id"], row["unique_claim_id"] = key, row.pop("claim_id")
        for field in ("provider_fees", "allowed_fees", "member_coinsurance", "member_copay", "net_fee"):
            row[field] = f"{row[field]:.2f}"
    return rows


@app.get("/top-providers")
def top_providers(limit: int = 10):
    total = func.sum(Line.net_fee)
    query = select(Line.provider_npi, total).group_by(Line.provider_npi).order_by(total.desc(), Line.provider_npi).limit(limit)
    with Session(engine) as session:
        return [{"provider_npi": npi, "total_net_fee": f"{value:.2f}"} for npi, value in session.execute(query)]
